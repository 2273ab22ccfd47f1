"""Jobs with kubernetes_sd_configs for this project and a real Prometheus: the same targets, also after changes.

Both watch the same API server, which also forgets its history.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from alerts.errors import RuleError
from collectors.discovery.asking import Asker
from collectors.discovery.discovery import Discovery
from collectors.discovery.polling import Means
from controlplane.app.targets.followers import followers
from controlplane.app.targets.plan import discovery_of, plan_scraping
from controlplane.config.loader import load_fleet
from controlplane.config.scraping.prometheus.jobs import read_jobs
from tests.contract.real_servers import prometheus
from tests.contract.test_relabel_scrapes_prometheus import labels_there, told
from tests.fakes.kubernetes import ApiServer
from tests.patience import HANG_S, PROCESS_S

pytestmark = pytest.mark.needs("prometheus")

OBJECTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures/kubernetes/discovery.json").read_text()
)
CONFIG = """\
global: {scrape_interval: 1h, scrape_timeout: 1s}
scrape_configs:
  - job_name: pods
    kubernetes_sd_configs: [{role: pod, ACCESS, attach_metadata: {node: true}}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_phase], regex: Running, action: keep}
      - {regex: __meta_kubernetes_pod_label_(.+), action: labelmap}
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - job_name: named
    kubernetes_sd_configs:
      - {role: pod, ACCESS, namespaces: {names: [llm, llm]}, selectors: [{role: pod, field: status.phase=Running}]}
      - {role: endpointslice, ACCESS, namespaces: {names: [llm, other]}}
  - job_name: labelled
    kubernetes_sd_configs: [{role: service, ACCESS, selectors: [{role: service, label: "app in (new, chat)"}]}]
  - {job_name: endpoints, kubernetes_sd_configs: [{role: endpoints, ACCESS, attach_metadata: {node: true}}]}
  - {job_name: nodes, kubernetes_sd_configs: [{role: node, ACCESS}], relabel_configs: [{action: drop}]}
  - {job_name: ingresses, kubernetes_sd_configs: [{role: ingress, ACCESS}]}
"""
REFUSED = (
    "", "role: pods", "role: pod", "role: endpointslices",
    "role: pod, api_server: 'http://a', kubeconfig_file: b", "role: pod, bearer_token: a",
    "role: pod, kubeconfig_file: b", "role: pod, kubeconfig_file: b, bearer_token: a",
    "role: pod, namespaces: {own_namespace: true}", "role: pod, namespaces: {names: [a]}", "role: pod, namespaces: [a]",
    "role: pod, api_server: 'http://a', namespaces: {own_namespace: true}", "role: pod, namespaces: {nmaes: [a]}",
    "role: pod, kubeconfig_file: b, namespaces: {own_namespace: true}", "role: pod, attach_metadata: {node: yes}",
    "role: pod, attach_metadata: {nodes: true}", "role: pod, attach_metadata: {node: 1}",
    "role: pod, selectors: [{role: pod, label: 'a=b'}]", "role: pod, selectors: [{role: service, label: 'a=b'}]",
    "role: pod, selectors: [{role: pod, label: 'a=b'}, {role: pod, field: 'a=b'}]", "role: pod, selectors: [{}]",
    "role: pod, selectors: [{role: pod, label: 'a in (b, c), !d, e!=f, g'}]",
    "role: pod, selectors: [{role: pod, label: 'a in b'}]", "role: pod, selectors: [{role: pod, label: 'a=b=c'}]",
    "role: pod, selectors: [{role: pod, label: 'a b'}]", "role: pod, selectors: [{role: pod, field: a}]",
    "role: pod, selectors: [{role: pod, field: 'a=b,c!=d'}]", "role: pod, selectors: [{role: pod, label: 'x.y/a>5'}]",
    "role: endpoints, selectors: [{role: pod, label: a}, {role: service, label: b}, {role: endpoints, label: c}]",
    "role: endpointslice, selectors: [{role: endpoints, label: c}]", "role: node, selectors: [{role: node, label: c}]",
    "role: ingress, selectors: [{role: ingress, label: c}]", "role: pod, refresh_interval: 5s", "role: Pod",
)  # fmt: skip
"""Fields of a section, some of which Prometheus refuses."""


class Way(Protocol):
    """A way to targets that is compared with Prometheus's."""

    def now(self) -> tuple[list[str], list[str]]: ...


class Ours:
    """Our whole way from a prometheus.yml to targets."""

    def __init__(self, folder: Path) -> None:
        (folder / "fleet.yaml").write_text("fleet: {name: x}\ntargets: [{prometheus_config: prometheus.yml}]\n")
        loaded = load_fleet(folder / "fleet.yaml")
        self.discovery: Discovery = discovery_of(plan_scraping(loaded), loaded)
        self.discovery.refresh()
        self.asker = Asker(lambda: None, followers(Means()))

    def now(self) -> tuple[list[str], list[str]]:
        """Return the labels and URLs of targets, and the labels of the dropped ones before the rules."""
        targets = self.discovery.refresh(self.asker.list_of)
        assert self.discovery.errors == ()
        dropped = {json.dumps((d.job, dict(d.discovered)), sort_keys=True) for d in self.discovery.dropped}
        return told((labels_there(t), t.url) for t in targets), sorted(dropped)


def theirs(url: str) -> tuple[list[str], list[str]]:
    data = httpx.get(f"{url}/api/v1/targets", timeout=HANG_S).json()["data"]
    active = {json.dumps((t["labels"], t["scrapeUrl"]), sort_keys=True)
              for t in data["activeTargets"]}  # fmt: skip
    dropped = {json.dumps((t["scrapePool"], t["discoveredLabels"]), sort_keys=True) for t in data["droppedTargets"]}
    return sorted(active), sorted(dropped)


async def equal(path: Way, url: str, has: str, lacks: str = "nothing has this name") -> None:
    """Wait until both have the same targets, with a text and without another, and hold them to it."""
    deadline = time.monotonic() + HANG_S
    while True:
        ours, others = path.now(), await asyncio.to_thread(theirs, url)
        text = str(others)
        if (ours == others and has in text and lacks not in text) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    assert ours[0] == others[0]
    assert ours[1] == others[1]
    assert has in text
    assert lacks not in text


def pod(name: str, ip: str, **labels: str) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 8000, "name": "http"}]}
    metadata = {"name": name, "namespace": "llm", "labels": labels}
    status = {"phase": "Running", "podIP": ip}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]},
            "status": status}  # fmt: skip


async def test_the_same_targets_before_and_after_changes(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm", "other")) as api:
        for one in OBJECTS:
            api.put(one)
        access = f"api_server: '{api.url}', authorization: {{credentials: {api.token()}}}"
        running = prometheus(tmp_path, CONFIG.replace("ACCESS", access))
        url = await asyncio.to_thread(running.__enter__)
        path = Ours(tmp_path)
        try:
            await path.asker.apply(path.discovery.sources)
            await equal(path, url, "__meta_kubernetes_node_name")
            api.put(pod("new-1", "10.9.9.1", app="new"))
            await equal(path, url, "10.9.9.1:8000")
            api.put(pod("new-1", "10.9.9.1", app="newer"))
            await equal(path, url, '"newer"')
            api.store.expire()
            api.put(pod("new-2", "10.9.9.2", app="new"))
            await equal(path, url, "10.9.9.2:8000")
            api.remove("v1", "Pod", "new-1", "llm")
            await equal(path, url, "10.9.9.2:8000", lacks="10.9.9.1")
        finally:
            await path.asker.close()
            await asyncio.to_thread(running.__exit__, None, None, None)


def test_the_same_sections_are_refused(tmp_path: Path) -> None:
    both: dict[str, tuple[bool, bool]] = {}
    for fields in REFUSED:
        (tmp_path / "prometheus.yml").write_text(
            f"scrape_configs: [{{job_name: x, kubernetes_sd_configs: [{{{fields}}}]}}]\n"
        )
        command = ["promtool", "check", "config", "--syntax-only", "prometheus.yml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=PROCESS_S)
        try:
            read_jobs(tmp_path / "prometheus.yml")
            accepted = True
        except RuleError:
            accepted = False
        both[fields] = (done.returncode == 0, accepted)
    assert {fields: pair for fields, pair in both.items() if pair[0] is not pair[1]} == {}
    assert 8 < sum(theirs for theirs, _ in both.values()) < len(REFUSED) - 8
