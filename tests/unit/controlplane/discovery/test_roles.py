"""Objects of a cluster as addresses. tests/contract/test_kubernetes_sd_prometheus.py holds all labels to Prometheus."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from collectors.discovery.kubernetes_roles import Role
from controlplane.discovery.kubernetes.labels import key_of
from controlplane.discovery.kubernetes.roles import entries_of, needed
from controlplane.traffic.kubernetes.resource import Json

FIXTURE = Path(__file__).parents[3] / "fixtures/kubernetes/discovery.json"
KINDS = {"Pod": Role.POD, "Service": Role.SERVICE, "Endpoints": Role.ENDPOINTS, "EndpointSlice": Role.ENDPOINTSLICE,
         "Node": Role.NODE, "Ingress": Role.INGRESS}  # fmt: skip


def cluster() -> dict[Role, dict[str, Json]]:
    objects: dict[Role, dict[str, Json]] = defaultdict(dict)
    for one in json.loads(FIXTURE.read_text()):
        objects[KINDS[one["kind"]]][key_of(one)] = one
    return objects


def addresses(role: Role, objects: dict[Role, dict[str, Json]]) -> list[str]:
    return [address for entry in entries_of(role, objects) for address in entry.addresses]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (
            Role.POD,
            ["10.2.0.1:8000", "10.2.0.1:9000", "10.2.0.1", "10.2.0.1:7000", "10.2.0.1", "[fd00::12]:8000", "10.2.0.9"],
        ),
        (Role.SERVICE, ["vllm.llm.svc:80", "balanced.llm.svc:443", "outside.other.svc:9"]),
        (
            Role.ENDPOINTS,
            ["10.2.0.1:8000", "[fd00::12]:8000", "10.9.9.9:8000", "10.2.0.1:9000", "10.2.0.1:7000", "10.1.0.5:10250"],
        ),
        (Role.NODE, ["10.1.0.5:10250", "dns-2.internal:10250", "three.example:0"]),
        (Role.INGRESS, ["chat.example", "chat.example", "deep.chat.example", "plain.test"]),
    ],
)
def test_a_role_makes_these_addresses(role: Role, expected: list[str]) -> None:
    assert addresses(role, cluster()) == expected


def test_a_slice_adds_the_ports_of_a_pod_that_its_service_does_not_have() -> None:
    objects = cluster()
    slice_of = objects[Role.ENDPOINTSLICE]["llm/vllm-a1"]
    objects[Role.ENDPOINTSLICE] = {"llm/vllm-a1": slice_of}
    seven = ["10.2.0.1:8000", "10.2.0.1:9000", "10.2.0.7:8000", "10.2.0.8:8000", "10.2.0.7:9000", "10.2.0.8:9000"]
    assert addresses(Role.ENDPOINTSLICE, objects) == [*seven, "10.2.0.1:7000"]
    del objects[Role.POD]["llm/vllm-0"]
    assert addresses(Role.ENDPOINTSLICE, objects) == seven


def test_a_pod_tells_its_controller_and_no_other_owner() -> None:
    first = next(entries_of(Role.POD, cluster())).labels
    assert first["__meta_kubernetes_pod_controller_kind"] == "StatefulSet"
    assert first["__meta_kubernetes_pod_controller_name"] == "vllm"
    assert first["__meta_kubernetes_pod_label_app_kubernetes_io_name"] == "vllm"
    assert first["__meta_kubernetes_pod_labelpresent_empty"] == "true"


def test_nodes_are_read_only_where_their_labels_are_wanted() -> None:
    assert needed(Role.POD, with_nodes=False) == (Role.POD,)
    assert needed(Role.ENDPOINTSLICE, with_nodes=True) == (Role.ENDPOINTSLICE, Role.SERVICE, Role.POD, Role.NODE)
    assert needed(Role.SERVICE, with_nodes=True) == (Role.SERVICE,)


WRONG: tuple[Any, ...] = (None, 5, "x", [], {}, [None])


def broken(value: Any) -> list[Any]:
    """Return every variant of an object in which one part has a value of another type, or is missing."""
    if isinstance(value, dict):
        found: list[Any] = [{**value, key: wrong} for key in value for wrong in WRONG]
        found += [{k: v for k, v in value.items() if k != key} for key in value]
        return found + [{**value, key: inner} for key, each in value.items() for inner in broken(each)]
    if isinstance(value, list):
        return [[*value[:at], inner, *value[at + 1 :]] for at, each in enumerate(value) for inner in broken(each)]
    return []


@pytest.mark.parametrize("role", list(Role))
def test_no_shape_of_an_object_is_a_fault(role: Role) -> None:
    objects = cluster()
    for kind in needed(role, with_nodes=True):
        for key, whole in objects[kind].items():
            for variant in broken(copy.deepcopy(whole)):
                for entry in entries_of(role, {**objects, kind: {key: variant}}):
                    assert all(isinstance(text, str) for pair in entry.labels.items() for text in pair)
