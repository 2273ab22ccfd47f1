"""Addresses that are made anew only where they may have changed are those that are always made anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import pytest

from collectors.discovery.entries import Entry
from collectors.discovery.kubernetes_roles import Role
from controlplane.discovery.kubernetes.remembered import Remembered
from controlplane.discovery.kubernetes.roles import Objects, entries_of, needed
from controlplane.traffic.kubernetes.resource import Json
from tests.unit.controlplane.discovery.test_roles import cluster


def anew(role: Role, objects: Mapping[Role, Objects]) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries_of(role, objects) if entry.addresses[0])


def held(role: Role) -> dict[Role, dict[str, Json]]:
    objects = cluster()
    return {kind: objects[kind] for kind in needed(role, with_nodes=True)}


def changes(objects: dict[Role, dict[str, Json]]) -> Iterator[tuple[Role, str, Json]]:
    """Yield (kind, key, new object) of one change of every object."""
    for kind, those in objects.items():
        for key, one in those.items():
            new = copy.deepcopy(one)
            new["metadata"].setdefault("labels", {})["changed"] = "yes"
            yield kind, key, new


@pytest.mark.parametrize("role", list(Role))
def test_every_change_of_every_object_is_seen(role: Role) -> None:
    remembered, objects = Remembered(role), held(role)
    first = remembered.entries_of([objects])
    assert first == anew(role, objects)
    assert remembered.entries_of([{kind: dict(those) for kind, those in objects.items()}]) is first
    seen = 0
    for kind, key, new in changes(objects):
        for those in ({**objects[kind], key: new}, {k: v for k, v in objects[kind].items() if k != key}, objects[kind]):
            now = {**objects, kind: those}
            found = remembered.entries_of([now])
            assert found == anew(role, now), (kind, key)
            seen += found != first
    assert seen > len(objects[role])


def test_the_addresses_of_other_objects_are_the_same_ones() -> None:
    remembered, objects = Remembered(Role.POD), held(Role.POD)
    first = remembered.entries_of([objects])
    key = "llm/vllm-0"
    new = copy.deepcopy(objects[Role.POD][key])
    new["metadata"].setdefault("labels", {})["changed"] = "yes"
    found = remembered.entries_of([{**objects, Role.POD: {**objects[Role.POD], key: new}}])
    kept = [entry for entry in found if any(entry is one for one in first)]
    changed = [entry for entry in found if "__meta_kubernetes_pod_label_changed" in entry.labels]
    assert changed
    assert len(kept) + len(changed) == len(found) == len(first)


def test_namespaces_that_come_and_go() -> None:
    remembered, objects = Remembered(Role.POD), held(Role.POD)
    parts = [
        {**objects, Role.POD: {key: one for key, one in objects[Role.POD].items() if key.startswith(f"{name}/")}}
        for name in ("llm", "other")
    ]
    assert remembered.entries_of(parts) == (*anew(Role.POD, parts[0]), *anew(Role.POD, parts[1]))
    assert remembered.entries_of(parts[1:]) == anew(Role.POD, parts[1])
    assert remembered.entries_of([]) == ()
    assert remembered.entries_of(parts[:1]) == anew(Role.POD, parts[0])


def test_pods_without_an_ip_have_an_empty_address_where_they_are_wanted() -> None:
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 1}, {"containerPort": 2}]}
    metadata = {"name": "p", "namespace": "llm"}
    waiting = {"metadata": metadata, "spec": {"containers": [container]}, "status": {"phase": "Pending"}}
    pods = {Role.POD: {"llm/p": waiting}}
    assert Remembered(Role.POD).entries_of([pods]) == ()
    found = Remembered(Role.POD, with_waiting=True).entries_of([pods])
    assert [(entry.addresses, entry.labels["__meta_kubernetes_pod_container_port_number"]) for entry in found] == [
        (("",), "1"),
        (("",), "2"),
    ]
