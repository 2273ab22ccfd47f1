"""The rules of deploy/kubernetes/discovery.yaml are those that lists and watches need, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from collectors.discovery.kubernetes_roles import Role
from controlplane.discovery.kubernetes.resources import MANIFEST, collection_of, monitors_of, namespaces
from controlplane.discovery.monitors.monitor import Kind
from controlplane.traffic.kubernetes.cluster import Cluster
from controlplane.traffic.kubernetes.resource import Resource
from tests.fakes.kubernetes import ApiServer, Rule
from tests.unit.controlplane.traffic.kubernetes.accounts import kubeconfig

ROOT = Path(__file__).parents[4]


def granted() -> list[Rule]:
    documents = yaml.safe_load_all((ROOT / MANIFEST).read_text())
    (role,) = [one for one in documents if one["kind"] == "ClusterRole"]
    return [Rule(rule["verbs"], rule["apiGroups"], rule["resources"], cluster=True) for rule in role["rules"]]


EVERY = (
    *(collection_of(role, "") for role in Role),
    *(monitors_of(kind.value.plural, kind.value.title, "", "", kind.value.version) for kind in Kind),
    namespaces(),
)


@pytest.mark.parametrize("place", EVERY, ids=str)
async def test_the_manifest_is_enough_for_each_kind_of_objects(tmp_path: Path, place: Resource) -> None:
    async with ApiServer(namespaces=("llm",)) as api:
        cluster = Cluster(kubeconfig(tmp_path, {"token": api.token(granted())}, api.url), None)
        try:
            await cluster.listed(place, {})
            watch = {"resourceVersion": str(api.store.version), "timeoutSeconds": "1"}
            async with cluster.watch(place, watch, 5.0):
                pass
        finally:
            await cluster.close()


def test_the_manifest_grants_nothing_else() -> None:
    needed = {(place.group, place.plural, verb) for place in EVERY for verb in ("list", "watch")}
    given = {
        (g, name, verb) for rule in granted() for g in rule.groups for name in rule.resources for verb in rule.verbs
    }
    assert given == needed


def test_nodes_are_in_no_namespace() -> None:
    assert collection_of(Role.NODE, "llm").collection == "/api/v1/nodes"
    assert collection_of(Role.POD, "llm").collection == "/api/v1/namespaces/llm/pods"
    assert collection_of(Role.INGRESS, "").collection == "/apis/networking.k8s.io/v1/ingresses"
