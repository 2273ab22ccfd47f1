"""The same cluster for this project and for a real Prometheus: every role makes the same addresses and labels."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.discovery.kubernetes_roles import Role
from controlplane.discovery.kubernetes.labels import key_of
from controlplane.discovery.kubernetes.roles import entries_of, needed
from controlplane.traffic.kubernetes.resource import Json
from tests.contract.real_servers import prometheus
from tests.contract.test_relabel_scrapes_prometheus import told
from tests.fakes.kubernetes import ApiServer
from tests.patience import HANG_S

pytestmark = pytest.mark.needs("prometheus")

OBJECTS: list[Json] = json.loads((Path(__file__).parents[1] / "fixtures/kubernetes/discovery.json").read_text())
KINDS = {"Pod": Role.POD, "Service": Role.SERVICE, "Endpoints": Role.ENDPOINTS, "EndpointSlice": Role.ENDPOINTSLICE,
         "Node": Role.NODE, "Ingress": Role.INGRESS}  # fmt: skip
WITH_NODES = (Role.POD, Role.ENDPOINTS, Role.ENDPOINTSLICE)
OF_THE_JOB = ("job", "__scheme__", "__metrics_path__", "__scrape_interval__", "__scrape_timeout__")


def config(server: str, token: str) -> str:
    """Return a job of each role that drops every address, so that its labels are told and nothing is scraped."""
    jobs = [(role, "") for role in Role] + [(role, ", attach_metadata: {node: true}") for role in WITH_NODES]
    return "scrape_configs:\n" + "".join(
        f"  - job_name: {role}{'-nodes' if extra else ''}\n"
        f"    kubernetes_sd_configs: [{{role: {role}, api_server: '{server}',"
        f" authorization: {{credentials: {token}}}{extra}}}]\n"
        "    relabel_configs: [{action: drop}]\n"
        for role, extra in jobs
    )


def theirs(folder: Path, server: str, token: str, expected: dict[str, list[str]]) -> dict[str, list[dict[str, str]]]:
    """Return the labels that Prometheus discovers, by job, once they are as expected, or after HANG_S.

    It tells of what it has discovered every five seconds, and not always of all of it.
    """
    with prometheus(folder, config(server, token)) as url:
        deadline = time.monotonic() + HANG_S
        while True:
            data: dict[str, Any] = httpx.get(f"{url}/api/v1/targets", timeout=HANG_S).json()["data"]
            found: dict[str, list[dict[str, str]]] = defaultdict(list)
            for target in data["droppedTargets"]:
                labels = target["discoveredLabels"]
                found[target["scrapePool"]].append({k: v for k, v in labels.items() if k not in OF_THE_JOB})
            if {job: told(labels) for job, labels in found.items()} == expected or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def ours(objects: dict[Role, dict[str, Json]], role: Role, *, with_nodes: bool) -> list[dict[str, str]]:
    held = {kind: objects[kind] for kind in needed(role, with_nodes=with_nodes)}
    made = [entry for entry in entries_of(role, held) if entry.addresses[0]]
    return [{"__address__": e.addresses[0], **{k: v for k, v in e.labels.items() if v}} for e in made]


async def test_every_role_makes_the_same_addresses(tmp_path: Path) -> None:
    async with ApiServer(namespaces=("llm", "other")) as api:
        objects: dict[Role, dict[str, Json]] = defaultdict(dict)
        for one in OBJECTS:
            stored = api.put(one)
            objects[KINDS[one["kind"]]][key_of(stored)] = stored
        expected = {str(role): told(ours(objects, role, with_nodes=False)) for role in Role}
        expected |= {f"{role}-nodes": told(ours(objects, role, with_nodes=True)) for role in WITH_NODES}
        found = await asyncio.to_thread(theirs, tmp_path, api.url, api.token(), expected)
    for job, labels in expected.items():
        assert labels == told(found[job]), job
    assert found.keys() == expected.keys()
