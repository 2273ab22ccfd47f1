"""Monitors of all kinds for this project, and for a real Prometheus what Prometheus Operator makes of them.

Both watch the same API server, and find the same targets, also after changes. The jobs are re-expressed from the
operator's own expectations of its tests, without the two rules for shards.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.asking import Asker
from collectors.discovery.polling import Means
from controlplane.app.targets.followers import followers
from controlplane.app.targets.plan import discovery_of, plan_scraping
from controlplane.config.loader import load_fleet
from controlplane.discovery.monitors.listing import OTHERS
from tests.contract.real_servers import prometheus
from tests.contract.test_kubernetes_jobs_prometheus import OBJECTS, equal, pod
from tests.contract.test_relabel_scrapes_prometheus import labels_there, told
from tests.fakes.kubernetes import ApiServer
from tests.fakes.monitors import pod_monitor, probe, scrape_config, service_monitor

pytestmark = pytest.mark.needs("prometheus")

MONITORS = (
    service_monitor(
        "vllm",
        selector={"matchLabels": {"team": "ml"}},
        jobLabel="team",
        targetLabels=["team"],
        podTargetLabels=["app.kubernetes.io/name"],
        endpoints=[
            {"port": "http", "params": {"a": ["b"]}},
            {"port": "nowhere", "path": "/other"},
        ],
    ),
    service_monitor(
        "slices",
        selector={"matchExpressions": [{"key": "team", "operator": "Exists"}]},
        namespaceSelector={"any": True},
        serviceDiscoveryRole="EndpointSlice",
        attachMetadata={"node": True},
        endpoints=[
            {
                "targetPort": 8000,
                "scheme": "https",
                "relabelings": [{"sourceLabels": ["__meta_kubernetes_node_label_gpu"], "targetLabel": "gpu"}],
            }
        ],
    ),
    pod_monitor(
        "pods",
        selector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["old", "older"]}]},
        podMetricsEndpoints=[{"port": "http", "path": "/pods"}],
    ),
    pod_monitor(
        "both",
        "other",
        selector={"matchExpressions": [{"key": "empty", "operator": "DoesNotExist"}]},
        namespaceSelector={"matchNames": ["llm", "other"]},
        jobLabel="app",
        podMetricsEndpoints=[{"path": "/both", "filterRunning": False}],
    ),
    probe(
        "pages",
        jobName="outside",
        module="http_2xx",
        prober={"url": "blackbox:9115"},
        targets={
            "staticConfig": {"static": ["https://a.example/v1", "b.example", "b.example"], "labels": {"env": "prod"}}
        },
    ),
    probe(
        "entrances",
        prober={"url": "blackbox:9115", "scheme": "HTTPS", "path": "/ask"},
        targets={
            "ingress": {
                "namespaceSelector": {"any": True},
                "selector": {"matchExpressions": [{"key": "no-such", "operator": "DoesNotExist"}]},
                "relabelingConfigs": [{"sourceLabels": ["__tmp_ingress_address"], "targetLabel": "host"}],
            }
        },
    ),
    scrape_config(
        "listed",
        jobName="listed",
        metricsPath="/listed",
        params={"a": ["b"]},
        staticConfigs=[{"targets": ["s1:1", "s2"], "labels": {"env": "prod", "job": "mine"}}],
        kubernetesSDConfigs=[
            {"role": "Pod", "namespaces": {"names": ["llm"]}, "selectors": [{"role": "Pod", "label": "app=new"}]},
            {"role": "Service", "namespaces": {"names": ["llm", "other"]}},
        ],
        relabelings=[{"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "pod"}],
    ),
)
FLEET = """\
fleet: {name: x}
scrape: {interval: 1h, timeout: 1s}
targets: [{prometheus_operator: {ACCESS, probe_selector: {}, scrape_config_selector: {}}}]
"""


def behind(kind: str) -> str:
    """Return the rules of what is behind a Service."""
    target = f"[__meta_kubernetes_{kind}_address_target_kind, __meta_kubernetes_{kind}_address_target_name]"
    return f"""\
      - {{source_labels: {target}, separator: ;, regex: Node;(.*), replacement: "${{1}}", target_label: node}}
      - {{source_labels: {target}, separator: ;, regex: Pod;(.*), replacement: "${{1}}", target_label: pod}}
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_service_name], target_label: service}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
      - {{source_labels: [__meta_kubernetes_pod_container_name], target_label: container}}
      - {{action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: (Failed|Succeeded)}}
"""


def taken(source: str, target: str) -> str:
    return f'{{source_labels: [{source}], target_label: {target}, regex: (.+), replacement: "${{1}}"}}'


FIRST = "{source_labels: [job], target_label: __tmp_prometheus_job_name}"
OF_SERVICE = '{source_labels: [__meta_kubernetes_service_name], target_label: job, replacement: "${1}"}'
OF_POD = """\
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_container_name], target_label: container}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
"""


TO_PROBER = """\
      - {source_labels: [__param_target], target_label: instance}
      - {target_label: __address__, replacement: "blackbox:9115"}
"""


def vllm(number: int, port: str, more: str) -> str:
    label = "__meta_kubernetes_service_label_team"
    return f"""\
  - job_name: serviceMonitor/llm/vllm/{number}
    {more}
    kubernetes_sd_configs: [{{role: endpoints, ACCESS, namespaces: {{names: [llm]}}}}]
    relabel_configs:
      - {FIRST}
      - {{action: keep, source_labels: [{label}, __meta_kubernetes_service_labelpresent_team], regex: (ml);true}}
      - {{action: keep, source_labels: [__meta_kubernetes_endpoint_port_name], regex: {port}}}
{behind("endpoint")}
      - {taken(label, "team")}
      - {taken("__meta_kubernetes_pod_label_app_kubernetes_io_name", "app_kubernetes_io_name")}
      - {OF_SERVICE}
      - {taken(label, "job")}
      - {{target_label: endpoint, replacement: {port}}}
"""


CONFIG = f"""\
global: {{scrape_interval: 1h, scrape_timeout: 1s}}
scrape_configs:
{vllm(0, "http", "params: {a: [b]}")}
{vllm(1, "nowhere", "metrics_path: /other")}
  - job_name: serviceMonitor/llm/slices/0
    kubernetes_sd_configs: [{{role: endpointslice, ACCESS, attach_metadata: {{node: true}}}}]
    scheme: https
    relabel_configs:
      - {FIRST}
      - {{action: keep, source_labels: [__meta_kubernetes_service_labelpresent_team], regex: "true"}}
      - {{action: keep, source_labels: [__meta_kubernetes_pod_container_port_number], regex: "8000"}}
{behind("endpointslice")}
      - {OF_SERVICE}
      - {{target_label: endpoint, replacement: "8000"}}
      - {{source_labels: [__meta_kubernetes_node_label_gpu], target_label: gpu}}
  - job_name: podMonitor/llm/pods/0
    kubernetes_sd_configs: [{{role: pod, ACCESS, namespaces: {{names: [llm]}}}}]
    metrics_path: /pods
    relabel_configs:
      - {FIRST}
      - {{action: drop, source_labels: [__meta_kubernetes_pod_phase], regex: (Failed|Succeeded)}}
      - action: drop
        source_labels: [__meta_kubernetes_pod_label_app, __meta_kubernetes_pod_labelpresent_app]
        regex: (old|older);true
      - {{action: keep, source_labels: [__meta_kubernetes_pod_container_port_name], regex: http}}
{OF_POD}
      - {{target_label: job, replacement: llm/pods}}
      - {{target_label: endpoint, replacement: http}}
  - job_name: podMonitor/other/both/0
    kubernetes_sd_configs: [{{role: pod, ACCESS, namespaces: {{names: [llm, other]}}}}]
    metrics_path: /both
    relabel_configs:
      - {FIRST}
      - {{action: drop, source_labels: [__meta_kubernetes_pod_labelpresent_empty], regex: "true"}}
{OF_POD}
      - {{target_label: job, replacement: other/both}}
      - {taken("__meta_kubernetes_pod_label_app", "job")}
  - job_name: probe/llm/pages
    metrics_path: /probe
    params: {{module: [http_2xx]}}
    static_configs:
      - {{targets: [https://a.example/v1, b.example, b.example], labels: {{env: prod, namespace: llm}}}}
    relabel_configs:
      - {FIRST}
      - {{target_label: job, replacement: outside}}
      - {{source_labels: [__address__], target_label: __param_target}}
{TO_PROBER}
  - job_name: probe/llm/entrances
    metrics_path: /ask
    scheme: https
    kubernetes_sd_configs: [{{role: ingress, ACCESS}}]
    relabel_configs:
      - {FIRST}
      - {{action: drop, source_labels: [__meta_kubernetes_ingress_labelpresent_no_such], regex: "true"}}
      - source_labels: [__meta_kubernetes_ingress_scheme, __address__, __meta_kubernetes_ingress_path]
        separator: ;
        regex: (.+);(.+);(.+)
        target_label: __param_target
        replacement: "${{1}}://${{2}}${{3}}"
        action: replace
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_ingress_name], target_label: ingress}}
      - source_labels: [__address__]
        separator: ;
        regex: (.*)
        target_label: __tmp_ingress_address
        replacement: $1
        action: replace
{TO_PROBER}
      - {{source_labels: [__tmp_ingress_address], target_label: host}}
  - job_name: scrapeConfig/llm/listed
    metrics_path: /listed
    params: {{a: [b]}}
    static_configs: [{{targets: ["s1:1", s2], labels: {{env: prod, job: mine}}}}]
    kubernetes_sd_configs:
      - {{role: pod, ACCESS, namespaces: {{names: [llm]}}, selectors: [{{role: pod, label: app=new}}]}}
      - {{role: service, ACCESS, namespaces: {{names: [llm, other]}}}}
    relabel_configs:
      - {FIRST}
      - {{target_label: job, replacement: listed}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
"""


class Ours:
    """Our whole way from monitors to targets."""

    def __init__(self, folder: Path, access: str) -> None:
        (folder / "fleet.yaml").write_text(FLEET.replace("ACCESS", access))
        loaded = load_fleet(folder / "fleet.yaml")
        self.discovery = discovery_of(plan_scraping(loaded), loaded)
        self.asker = Asker(lambda: None, followers(Means()))

    async def follow(self) -> None:
        """Refresh, and follow the sources that monitors name."""
        while True:
            self.discovery.refresh(self.asker.list_of)
            await self.asker.apply(self.discovery.sources)
            await asyncio.sleep(0.1)

    def now(self) -> tuple[list[str], list[str]]:
        """Return the labels and URLs of targets, and the labels of the dropped ones before the rules."""
        targets = self.discovery.refresh(self.asker.list_of)
        assert (self.discovery.errors, self.discovery.left_out) == ((), ())
        # Pods without an IP are told here, and in no list of Prometheus.
        those = [d for d in self.discovery.dropped if d.job != OTHERS and "__address__" in dict(d.discovered)]
        dropped = {json.dumps((d.job, dict(d.discovered)), sort_keys=True) for d in those}
        return told((labels_there(t), t.url) for t in targets), sorted(dropped)


async def test_the_same_targets_as_of_the_configuration_of_the_operator(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm", "other", "third")) as api:
        for one in (*OBJECTS, *MONITORS):
            api.put(one)
        api.put(other("outside", "10.9.9.3", "third"))
        token = api.token()
        (tmp_path / "token").write_text(token)
        running = prometheus(
            tmp_path, CONFIG.replace("ACCESS", f"api_server: '{api.url}', authorization: {{credentials: {token}}}")
        )
        url = await asyncio.to_thread(running.__enter__)
        ours = Ours(tmp_path, f"api_server: '{api.url}', authorization: {{credentials_file: {tmp_path}/token}}")
        following = asyncio.ensure_future(ours.follow())
        try:
            await equal(ours, url, '"gpu": "h100"')
            api.put(pod("new-1", "10.9.9.1", app="new"))
            await equal(ours, url, "10.9.9.1:8000")
            api.put(pod("new-1", "10.9.9.1", app="old"))
            await equal(ours, url, '"old"')
            api.remove("v1", "Pod", "new-1", "llm")
            await equal(ours, url, "10.2.0.1:8000", lacks="10.9.9.1")
        finally:
            following.cancel()
            await ours.asker.close()
            await asyncio.to_thread(running.__exit__, None, None, None)


def other(name: str, ip: str, namespace: str) -> dict[str, Any]:
    found = pod(name, ip, app="new")
    return found | {"metadata": {**found["metadata"], "namespace": namespace}}
