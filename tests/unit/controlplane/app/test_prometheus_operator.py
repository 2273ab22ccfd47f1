"""`prometheus_operator:` of fleet.yaml: what check tells, and a running Scraping that follows a cluster's monitors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.app.check import inspect_file
from controlplane.app.parts.scraping import Scraping
from controlplane.config.loader import LoadedFleet
from tests.fakes.kubernetes import ApiServer, Rule
from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.monitors import pod_monitor, probe, scrape_config, service_monitor
from tests.patience import HANG_S
from tests.unit.controlplane.app.test_scraping_reload import scraping

Write = Callable[[str], LoadedFleet]
MONITORING = "monitoring.coreos.com"
NO_CRD = ApiError(404, "NotFound", "the server could not find the requested resource")
DELAY_S = 5.0
"""Seconds within which a change of a monitor takes effect; a wait for longer ends a hang."""


def pod(name: str, ip: str, namespace: str = "llm", phase: str = "Running", port: str = "http", **labels: str) -> Any:
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 8000, "name": port}]}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [container]}, "status": {"phase": phase, "podIP": ip},
    }  # fmt: skip


def service(name: str, *pods: tuple[str, str], namespace: str = "llm", **labels: str) -> list[dict[str, Any]]:
    """Return a Service and the Endpoints of its pods, each a name and an IP."""
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    addresses = [{"ip": ip, "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod}} for pod, ip in pods]
    subset = {"addresses": addresses, "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}]}
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": {**metadata, "labels": {}}, "subsets": [subset]},
    ]


def entry(api: ApiServer, more: str = "", beside: str = "", user: str = "ours", rules: Any = None) -> str:
    """Return the targets of a fleet.yaml."""
    token = api.token(rules, user)
    Path("token").write_text(token)
    at = f"api_server: '{api.url}', authorization: {{credentials_file: {Path.cwd()}/token}}"
    return f"targets:\n  - prometheus_operator: {{{at}{more}}}\n{beside}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def following(loaded: LoadedFleet) -> AsyncIterator[Scraping]:
    async with scraping(loaded) as running:
        yield running


async def becomes(running: Scraping, told: Callable[[Scraping], object], wanted: object) -> None:
    """Wait until a running control plane tells what is wanted, and hold it to that."""
    began = asyncio.get_running_loop().time()
    while True:
        await running.discover()
        if told(running) == wanted or asyncio.get_running_loop().time() - began > HANG_S:
            break
        await asyncio.sleep(0.05)
    assert told(running) == wanted


def targets(running: Scraping) -> list[tuple[str, str, str]]:
    return sorted((h.target.job, h.target.instance, dict(h.target.labels).get("pod", "")) for h in running.health())


def reasons(running: Scraping, search: str) -> list[tuple[str, str]]:
    """Return the job and the reason of each dropped address that `cp targets --dropped --search` would list."""
    found = [d for d in running.dropped() if any(search in value for _, value in d.discovered)]
    return sorted((each.job, each.reason) for each in found)


async def test_monitors_come_change_and_go(fleet: Write) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        for each in [pod("a", "10.0.0.1", app="vllm"), *service("vllm", ("a", "10.0.0.1"), team="ml")]:
            api.put(each)
        async with following(fleet(entry(api))) as running:
            await becomes(running, lambda r: (targets(r), r.all_known(), r.faults()), ([], True, ()))
            api.put(service_monitor(selector={"matchLabels": {"team": "ml"}}, endpoints=[{"port": "http"}]))
            await becomes(running, targets, [("vllm", "10.0.0.1:8000", "a")])
            assert [h.target.engine for h in running.health()] == ["auto"]
            api.put(
                service_monitor(selector={"matchLabels": {"team": "ml"}}, endpoints=[{"port": "http", "path": "/m"}])
            )
            await becomes(running, lambda r: [h.target.url for h in r.health()], ["http://10.0.0.1:8000/m"])
            api.put(pod_monitor(podMetricsEndpoints=[{"port": "http"}]))
            await becomes(running, targets, [("llm/test", "10.0.0.1:8000", "a"), ("vllm", "10.0.0.1:8000", "a")])
            api.remove(f"{MONITORING}/v1", "ServiceMonitor", "test", "llm")
            await becomes(running, targets, [("llm/test", "10.0.0.1:8000", "a")])
            api.put(pod_monitor(podMetricsEndpoints=[{"port": "http", "interval": "soon"}]))
            fault = (
                "PodMonitor llm/test: podMetricsEndpoints[0].interval: expected a duration such as 15s, 2m or 1h30m, "
                "got 'soon', so this endpoint is left out"
            )
            # A bad monitor has no target, and it is known that there is none.
            await becomes(running, lambda r: (targets(r), r.faults(), r.all_known()), ([], (fault,), True))


async def test_a_change_of_a_monitor_takes_effect_within_the_time_promised(fleet: Write) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        api.put(pod_monitor(podMetricsEndpoints=[{"port": "http"}]))
        async with following(fleet(entry(api))) as running:
            await becomes(running, targets, [("llm/test", "10.0.0.1:8000", "a")])
            began = asyncio.get_running_loop().time()
            api.put(pod_monitor(podMetricsEndpoints=[{"port": "https"}]))
            await becomes(running, targets, [])
            assert asyncio.get_running_loop().time() - began < DELAY_S


async def test_it_is_told_of_each_monitor_why_a_pod_is_not_scraped(fleet: Write) -> None:
    async with ApiServer(namespaces=("llm", "batch")) as api:
        for each in (
            pod("vllm-0", "10.0.0.1", app="vllm"),
            pod("done-0", "10.0.0.2", phase="Succeeded", app="vllm"),
            pod("lone-0", "10.0.0.3", "batch", app="vllm"),
            pod("web-0", "10.0.0.4", port="web", app="web"),
            *service("vllm", ("vllm-0", "10.0.0.1"), team="ops"),
            service_monitor("of-ml", selector={"matchLabels": {"team": "ml"}}, endpoints=[{"port": "http"}]),
            service_monitor("of-ops", selector={"matchLabels": {"team": "ops"}}, endpoints=[{"port": "metrics"}]),
            pod_monitor(
                "pods",
                selector={"matchExpressions": [{"key": "app", "operator": "In", "values": ["vllm", "sglang"]}]},
                podMetricsEndpoints=[
                    {
                        "port": "http",
                        "relabelings": [{"sourceLabels": ["pod"], "regex": "vllm-[1-9]", "action": "keep"}],
                    }
                ],
            ),
            pod_monitor(
                "labelled",
                selector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]},
                podMetricsEndpoints=[{"port": "http"}],
            ),
        ):
            api.put(each)
        async with following(fleet(entry(api))) as running:
            await becomes(running, lambda r: len(reasons(r, "vllm-0")), 4)
            assert reasons(running, "vllm-0") == [
                ("podMonitor/llm/labelled/0", "selector: label app of the pod must not be there"),
                ("podMonitor/llm/pods/0", 'relabelings[0] (keep): pod must match "vllm-[1-9]", and is "vllm-0"'),
                ("serviceMonitor/llm/of-ml/0", 'selector: label team of the Service must be "ml", and is "ops"'),
                (
                    "serviceMonitor/llm/of-ops/0",
                    'port: the name of the Service\'s port must be "metrics", and is "http"',
                ),
            ]
            assert reasons(running, "done-0")[1] == (
                "podMonitor/llm/pods/0",
                'the phase of the pod must not be Failed or Succeeded, and is "Succeeded"',
            )
            assert reasons(running, "web-0")[1] == (
                "podMonitor/llm/pods/0",
                'selector: label app of the pod must be one of "vllm", "sglang", and is "web"',
            )
            assert reasons(running, "lone-0") == [
                (
                    "prometheus_operator",
                    'the namespace of the pod must be one in which a monitor selects, and is "batch"',
                )
            ]
            cure = "`cp targets --dropped --search serviceMonitor/llm/of-ml/0` says why"
            assert (
                f"ServiceMonitor llm/of-ml: endpoints[0] selects nothing: its rules drop all 1 addresses there; {cure}"
                in running.remarks()
            )
            api.put(pod_monitor("far", "batch", namespaceSelector={"matchNames": ["none"]}, podMetricsEndpoints=[{}]))
            far = "PodMonitor batch/far: podMetricsEndpoints[0] selects nothing: there is no address in its namespaces"
            await becomes(running, lambda r: far in r.remarks(), True)
            assert running.faults() == ()


async def test_a_pod_that_no_monitor_sees_has_a_reason(fleet: Write) -> None:
    behind = "a Service must select the pod: only ServiceMonitors look at its namespace, and it is behind none"
    async with ApiServer(namespaces=("llm", "batch")) as api:
        for each in (
            pod("served-0", "10.0.0.1", app="vllm"),
            pod("alone-0", "10.0.0.2", app="vllm"),
            pod("waits-0", "", "batch", phase="Pending", app="vllm"),
            pod("far-0", "10.0.0.3", "batch"),
            *service("vllm", ("served-0", "10.0.0.1"), team="ops"),
            service_monitor("of-ml", selector={"matchLabels": {"team": "ml"}}, endpoints=[{"port": "http"}]),
        ):
            api.put(each)
        async with following(fleet(entry(api))) as running:
            await becomes(running, lambda r: reasons(r, "alone-0"), [("prometheus_operator", behind)])
            # Each kind of object is watched by itself, so they become known one after another.
            await becomes(running, lambda r: [job for job, _ in reasons(r, "served-0")], ["serviceMonitor/llm/of-ml/0"])
            await becomes(running, lambda r: [job for job, _ in reasons(r, "far-0")], ["prometheus_operator"])
            for each in service("alone", ("alone-0", "10.0.0.2"), team="ml"):
                api.put(each)
            await becomes(running, targets, [("alone", "10.0.0.2:8000", "alone-0")])
            await becomes(running, lambda r: reasons(r, "alone-0"), [])
            api.put(service_monitor("all", namespaceSelector={"any": True}, endpoints=[{"port": "http"}]))
            await becomes(running, lambda r: reasons(r, "far-0"), [("prometheus_operator", behind)])
            api.put(pod_monitor("all", namespaceSelector={"any": True}, podMetricsEndpoints=[{"port": "metrics"}]))
            await becomes(running, lambda r: [job for job, _ in reasons(r, "far-0")], ["podMonitor/llm/all/0"])
            port = 'port: the name of the container\'s port must be "metrics", and is "http"'
            await becomes(running, lambda r: reasons(r, "waits-0"), [("podMonitor/llm/all/0", port)])
            api.put(pod_monitor("all", namespaceSelector={"any": True}, podMetricsEndpoints=[{"port": "http"}]))
            waits = [("podMonitor/llm/all/0", "it has no address yet: a pod that waits has no IP")]
            await becomes(running, lambda r: reasons(r, "waits-0"), waits)
            assert running.faults() == ()
            api.put(pod("waits-0", "10.0.0.9", "batch", app="vllm"))
            await becomes(running, lambda r: reasons(r, "waits-0"), [("serviceMonitor/llm/all/0", "")][:0])


async def test_three_hundred_monitors_share_the_watches(fleet: Write) -> None:
    names = [f"team-{number}" for number in range(30)]
    async with ApiServer(namespaces=names) as api:
        for number, name in enumerate(names):
            api.put(pod("a", f"10.0.{number}.1", name))
            for each in service("vllm", ("a", f"10.0.{number}.1"), namespace=name):
                api.put(each)
            for more in range(5):
                path = {"path": f"/{more}"}
                api.put(service_monitor(f"s{more}", name, endpoints=[{"port": "http", **path}]))
                api.put(pod_monitor(f"p{more}", name, podMetricsEndpoints=[{"port": "http", **path}]))
        async with following(fleet(entry(api))) as running:
            await becomes(running, lambda r: len(r.health()), 300)
            lists = [path for verb, path, user in api.requests if verb == "list" and user == "ours"]
            assert sorted({path.rpartition("/")[2] for path in lists}) == [
                "endpoints", "podmonitors", "pods", "servicemonitors", "services",
            ]  # fmt: skip
            watches = [path for verb, path, user in api.requests if verb == "watch" and user == "ours"]
            assert len(watches) == 6  # pods twice: beside endpoints, and alone


async def test_probes_and_scrape_configs_are_read_where_they_are_asked_for(fleet: Write) -> None:
    ca = "-----BEGIN CERTIFICATE-----\nAAAA\n"
    metadata = {"name": "trust", "namespace": "llm"}
    more = ", probe_selector: {match_labels: {team: ml}}, scrape_config_selector: {}"
    asked = {"targets": {"staticConfig": {"static": ["https://chat"]}}, "prober": {"url": "blackbox:9115"}}
    labelled = probe(**asked)
    labelled["metadata"]["labels"] = {"team": "ml"}
    from_map = {"tlsConfig": {"ca": {"configMap": {"name": "trust", "key": "ca.crt"}}}}
    async with ApiServer(namespaces=("llm",)) as api:
        api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": ca, "other": "x"}})
        for each in (labelled, probe("unlabelled", **asked), pod("a", "10.0.0.1", app="vllm")):
            api.put(each)
        pods = {"role": "Pod", "selectors": [{"role": "Pod", "label": "app=vllm"}]}
        api.put(scrape_config(staticConfigs=[{"targets": ["b:1"]}], kubernetesSDConfigs=[pods], **from_map))
        async with following(fleet(entry(api, more))) as running:
            scraped = "scrapeConfig/llm/test"
            wanted = [
                ("probe/llm/test", "https://chat", ""), (scraped, "10.0.0.1:8000", ""), (scraped, "b:1", "")
            ]  # fmt: skip
            await becomes(running, targets, wanted)
            assert {h.target.auth.ca for h in running.health() if h.target.auth} == {ca}
            assert "do not select Probe llm/unlabelled" in "".join(running.remarks())
        async with following(fleet(entry(api))) as running:
            await becomes(running, lambda r: r.all_known(), True)
            assert targets(running) == []


async def told(folder: Path, targets: str) -> list[str]:
    """Return what `check` says of the targets of a fleet.yaml, whose entry is at line 4."""
    (folder / "fleet.yaml").write_text(f"fleet: {{name: test}}\nrules: []\n{targets}")
    report = await asyncio.to_thread(inspect_file, folder / "fleet.yaml")
    lines = [*map(str, report.findings), *([report.verdict] if not report.errors else [])]
    assert "Traceback" not in "".join(lines)
    return [line.replace(f"{folder}/", "") for line in lines]


AT = "fleet.yaml:4: warning: targets[0].prometheus_operator: "


async def test_check_reads_the_monitors_and_what_they_select(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        api.put(pod("b", "10.0.0.2", port="other"))
        api.put(pod_monitor(podMetricsEndpoints=[{"port": "http"}, {"port": "http", "proxyConnectHeader": {"a": []}}]))
        api.put(pod_monitor("unlabelled", podMetricsEndpoints=[{"port": "http"}]))
        (labelled := pod_monitor(podMetricsEndpoints=[{"port": "http"}, {"proxyConnectHeader": {"a": []}}]))[
            "metadata"
        ]["labels"] = {"release": "prom"}
        api.put(labelled)
        more = ", pod_monitor_selector: {match_labels: {release: prom}}"
        beside = "    engines: {podMonitor/llm/test/9: vllm}\n"
        assert await told(tmp_path, entry(api, more, beside)) == [
            AT + "PodMonitor llm/test: podMetricsEndpoints[1].proxyConnectHeader: is not supported, so this endpoint is"
            " left out",
            AT + "pod_monitor_selector: and pod_monitor_namespace_selector: do not select PodMonitor llm/unlabelled",
            "fleet.yaml:5: warning: targets[0].engines.'podMonitor/llm/test/9': 'podMonitor/llm/test/9' is not one "
            "of the jobs of the monitors: podMonitor/llm/test/0; did you mean 'podMonitor/llm/test/0'?",
            "fleet.yaml: good: 1 target, 1 dropped target, 0 models, 0 rules, 3 warnings",
        ]


async def test_check_tells_a_missing_kind_and_a_missing_right_with_their_cure(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        api.put(pod("a", "10.0.0.1"))
        api.put(pod_monitor(podMetricsEndpoints=[{"port": "http"}]))
        api.faults.fail("list", "*/servicemonitors", NO_CRD, times=9)
        targets = entry(api)
        assert await told(tmp_path, targets) == [
            f"{AT}prometheus_operator at {api.url}: the cluster knows no servicemonitors.monitoring.coreos.com of "
            "version v1: install its CustomResourceDefinitions, or write service_monitor_selector: null",
            "fleet.yaml: good: 1 target, 0 models, 0 rules, 1 warning",
        ]
        api.faults.clear()
        rules = [
            Rule(["list", "watch"], ["", MONITORING], ["pods", "podmonitors", "endpoints", "services"], cluster=True)
        ]
        assert await told(tmp_path, entry(api, rules=rules)) == [
            f'{AT}prometheus_operator at {api.url}: servicemonitors.monitoring.coreos.com is forbidden: User "ours" '
            f'cannot list resource "servicemonitors" in API group "{MONITORING}" at the cluster scope; allow the verb '
            "list on servicemonitors.monitoring.coreos.com in a ClusterRole (deploy/kubernetes/discovery.yaml has the "
            "rules)",
            "fleet.yaml: good: 1 target, 0 models, 0 rules, 1 warning",
        ]
        assert await told(tmp_path, entry(api, ", service_monitor_selector: null", rules=rules)) == [
            "fleet.yaml: good: 1 target, 0 models, 0 rules",
        ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("{prometheus_operator: {}, path: /m}", "path: is not for prometheus_operator; the monitors say it"),
        (
            "{prometheus_operator: {}, prometheus_config: p.yml}",
            "prometheus_operator: is not for prometheus_config; the jobs in that file say it",
        ),
        ("{prometheus_operator: {}, engine: probe}", "engine: engine probe is not for prometheus_operator; give it an"
         " entry of its own"),
        ("{prometheus_operator: {service_monitor_selector: null, pod_monitor_selector: null}}",
         "prometheus_operator: reads nothing: one of service_monitor_selector, pod_monitor_selector, probe_selector, "
         "scrape_config_selector must not be null"),
        ("{prometheus_operator: {scrape_classes: [{name: a}, {name: a}]}}",
         "prometheus_operator.scrape_classes[1].name: 'a' is there twice; rename one"),
        ("{prometheus_operator: {scrape_classes: [{name: a, default: true}, {name: b, default: true}]}}",
         "prometheus_operator.scrape_classes[1].default: only one class can be the default"),
        ("{prometheus_operator: {pod_monitor_selector: {match_expressions: [{key: a, operator: In}]}}}",
         "prometheus_operator.pod_monitor_selector.match_expressions[0].values: operator In needs some"),
        ("{prometheus_operator: {kubeconfig_file: k, basic_auth: {username: u, password_file: p}}}",
         "prometheus_operator: credentials and TLS settings need api_server; a kubeconfig and a pod's account have "
         "their own"),
    ],
)  # fmt: skip
async def test_fields_that_do_not_go_together_are_refused(tmp_path: Path, fields: str, fault: str) -> None:
    (line, *_) = await told(tmp_path, f"targets: [{fields}]")
    assert line.startswith(f"fleet.yaml:3: targets[0].{fault}")
