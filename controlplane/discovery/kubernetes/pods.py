"""Pods as addresses: one of each port of each container, and one of each container without ports. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from collectors.discovery.entries import Entry
from controlplane.discovery.kubernetes.labels import (
    in_namespace,
    joined,
    node_labels,
    object_labels,
    port_of,
    prefixed,
)
from controlplane.traffic.kubernetes.resource import Json, listed_at, text_at


class Container(NamedTuple):
    """A container of a pod's specification."""

    spec: Json
    is_init: bool

    @property
    def ports(self) -> list[Json]:
        """Its ports."""
        return listed_at(self.spec, "ports")


def pod_entries(pod: Json, nodes: Mapping[str, Json], *, waiting: bool = False) -> Iterator[Entry]:
    """Yield the addresses of a pod. A pod that has no IP yet has none; where it is `waiting`, each is empty."""
    ip = text_at(pod, "status", "podIP")
    if not ip and not waiting:
        return
    shared = {**pod_labels(pod), **in_namespace(pod), **node_labels(nodes, text_at(pod, "spec", "nodeName"))}
    for container in containers(pod):
        own = {**shared, **container_labels(container), **prefixed("pod", {"container_id": _id(pod, container)})}
        for port in container.ports:
            if (number := port_of(port, "containerPort")) is not None:
                yield Entry((joined(ip, number) if ip else "",), {**own, **container_port_labels(port)})
        if not container.ports:
            yield Entry((ip,), own)


def pod_labels(pod: Json) -> dict[str, str]:
    """Return the labels of a pod itself."""
    owners = listed_at(pod, "metadata", "ownerReferences")
    controller = next((owner for owner in owners if owner.get("controller") is True), {})
    ready = next((c for c in listed_at(pod, "status", "conditions") if c.get("type") == "Ready"), {})
    values = {
        "ip": text_at(pod, "status", "podIP"),
        "ready": (text_at(ready, "status") or "unknown").lower(),
        "phase": text_at(pod, "status", "phase"),
        "node_name": text_at(pod, "spec", "nodeName"),
        "host_ip": text_at(pod, "status", "hostIP"),
        "uid": text_at(pod, "metadata", "uid"),
        "controller_kind": text_at(controller, "kind"),
        "controller_name": text_at(controller, "name"),
    }
    return {**prefixed("pod", values), **object_labels("pod", pod)}


def containers(pod: Json) -> list[Container]:
    """Return the containers of a pod: the ordinary ones, then the init containers."""
    found = [Container(spec, False) for spec in listed_at(pod, "spec", "containers")]
    return found + [Container(spec, True) for spec in listed_at(pod, "spec", "initContainers")]


def container_labels(container: Container) -> dict[str, str]:
    """Return the labels of a container."""
    values = {
        "container_name": text_at(container.spec, "name"),
        "container_image": text_at(container.spec, "image"),
        "container_init": str(container.is_init).lower(),
    }
    return prefixed("pod", values)


def container_port_labels(port: Json) -> dict[str, str]:
    """Return the labels of a container's port."""
    values = {
        "container_port_number": str(port_of(port, "containerPort")),
        "container_port_name": text_at(port, "name"),
        "container_port_protocol": text_at(port, "protocol"),
    }
    return prefixed("pod", values)


def _id(pod: Json, container: Container) -> str:
    statuses = listed_at(pod, "status", "initContainerStatuses" if container.is_init else "containerStatuses")
    name = text_at(container.spec, "name")
    return next((text_at(status, "containerID") for status in statuses if text_at(status, "name") == name), "")
