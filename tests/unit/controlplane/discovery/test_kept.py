"""What is left of an object makes the same addresses as the whole object."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.discovery.kubernetes_roles import Role
from controlplane.discovery.kubernetes.kept import kept
from controlplane.discovery.kubernetes.roles import entries_of, needed
from tests.unit.controlplane.discovery.test_roles import cluster


@pytest.mark.parametrize("role", list(Role))
def test_the_addresses_are_the_same(role: Role) -> None:
    objects = {kind: cluster()[kind] for kind in needed(role, with_nodes=True)}
    small = {kind: {key: kept(one) for key, one in those.items()} for kind, those in objects.items()}
    whole = list(entries_of(role, objects))
    assert whole
    assert list(entries_of(role, small)) == whole


def test_what_runs_in_a_pod_is_not_kept() -> None:
    big: dict[str, Any] = {
        "metadata": {"name": "a", "managedFields": [{}], "annotations": {"a": "b"}},
        "spec": {
            "nodeName": "n",
            "volumes": [{}],
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}], "env": [{}], "command": ["x"]}],
            "initContainers": [{"name": "d", "resources": {}}],
        },
        "status": {
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "c", "containerID": "x://1", "state": {"running": {}}}],
        },
    }
    assert kept(big) == {
        "metadata": {"name": "a", "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}]}],
            "initContainers": [{"name": "d"}],
            "nodeName": "n",
        },
        "status": {"podIP": "10.0.0.1", "containerStatuses": [{"name": "c", "containerID": "x://1"}]},
    }
    assert "env" in big["spec"]["containers"][0]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"metadata": None, "spec": [], "status": "x"},
        {"spec": {"containers": None, "initContainers": [None, "x", {}]}, "status": {"containerStatuses": {}}},
        {"spec": {"containers": []}, "status": None},
        {"spec": {"ports": [{"name": "http", "env": 1}], "type": "ClusterIP"}},
    ],
)
def test_odd_objects_and_other_kinds_stay_as_they_are(odd: dict[str, Any]) -> None:
    assert kept(odd) == odd
