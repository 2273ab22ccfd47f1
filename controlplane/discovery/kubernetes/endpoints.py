"""Endpoints and EndpointSlices as addresses, joined with their Service, pods and nodes. Pure.

A pod behind an endpoint adds the ports of its containers that the Service does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from collectors.discovery.entries import Entry
from controlplane.discovery.kubernetes.labels import (
    flag,
    in_namespace,
    joined,
    key_of,
    node_labels,
    object_labels,
    port_of,
    prefixed,
    sanitized,
)
from controlplane.discovery.kubernetes.pods import container_labels, container_port_labels, containers, pod_labels
from controlplane.discovery.kubernetes.services import service_labels
from controlplane.traffic.kubernetes.resource import Json, listed_at, text_at, value_at

_SERVICE = "kubernetes.io/service-name"
"""The label of a slice that names its Service."""


class Behind(NamedTuple):
    """Objects behind endpoints: by namespace/name, nodes by name. Without the metadata of nodes there are no nodes."""

    services: Mapping[str, Json]
    pods: Mapping[str, Json]
    nodes: Mapping[str, Json]

    def service(self, namespace: str, name: str) -> dict[str, str]:
        """Return the labels of a Service; empty where it is not known."""
        found = self.services.get(f"{namespace}/{name}")
        return service_labels(found) if found else {}

    def pod(self, reference: Json) -> Json | None:
        """Return the pod that an endpoint refers to."""
        if text_at(reference, "kind") != "Pod":
            return None
        return self.pods.get(f"{text_at(reference, 'namespace')}/{text_at(reference, 'name')}")


class _Address(NamedTuple):
    """An address with one port, and the labels of both."""

    host: str
    port: int | None
    protocol: str
    labels: Mapping[str, str]
    reference: Json
    node: str


def endpoints_entries(found: Json, behind: Behind) -> Iterator[Entry]:
    """Yield the addresses of an Endpoints object."""
    namespace, name = text_at(found, "metadata", "namespace"), text_at(found, "metadata", "name")
    shared = {**in_namespace(found), **behind.service(namespace, name), **object_labels("endpoints", found)}
    return _entries(shared, _of_endpoints(found), behind)


def slice_entries(found: Json, behind: Behind) -> Iterator[Entry]:
    """Yield the addresses of an EndpointSlice."""
    namespace = text_at(found, "metadata", "namespace")
    shared = {
        **in_namespace(found),
        **prefixed("endpointslice", {"address_type": text_at(found, "addressType")}),
        **object_labels("endpointslice", found),
        **behind.service(namespace, text_at(found, "metadata", "labels", _SERVICE)),
    }
    return _entries(shared, _of_slice(found), behind)


def _of_endpoints(found: Json) -> Iterator[_Address]:
    for subset in listed_at(found, "subsets"):
        for port in listed_at(subset, "ports"):
            values = {"port_name": text_at(port, "name"), "port_protocol": text_at(port, "protocol")}
            for field, ready in (("addresses", "true"), ("notReadyAddresses", "false")):
                for address in listed_at(subset, field):
                    reference: Json = value_at(address, "targetRef") or {}
                    own = {
                        "ready": ready,
                        "address_target_kind": text_at(reference, "kind"),
                        "address_target_name": text_at(reference, "name"),
                        "node_name": text_at(address, "nodeName"),
                        "hostname": text_at(address, "hostname"),
                    }
                    yield _Address(
                        text_at(address, "ip"),
                        port_of(port, "port"),
                        text_at(port, "protocol"),
                        prefixed("endpoint", {**values, **own}),
                        reference,
                        text_at(address, "nodeName") or _node_named(reference),
                    )


def _of_slice(found: Json) -> Iterator[_Address]:
    for endpoint in listed_at(found, "endpoints"):
        reference: Json = value_at(endpoint, "targetRef") or {}
        own = _endpoint_labels(endpoint, reference)
        hosts = value_at(endpoint, "addresses")
        for port in listed_at(found, "ports"):
            number = port_of(port, "port")
            values = {
                "port_name": text_at(port, "name"),
                "port_protocol": text_at(port, "protocol"),
                "port": None if number is None else str(number),
                "port_app_protocol": text_at(port, "appProtocol"),
            }
            labels = {**own, **prefixed("endpointslice", values)}
            for host in hosts if isinstance(hosts, list) else ():
                node = _node_named(reference) or text_at(endpoint, "nodeName")
                yield _Address(str(host), number, text_at(port, "protocol"), labels, reference, node)


def _endpoint_labels(endpoint: Json, reference: Json) -> dict[str, str]:
    values = {
        "address_target_kind": text_at(reference, "kind"),
        "address_target_name": text_at(reference, "name"),
        "endpoint_conditions_ready": flag(endpoint, "conditions", "ready"),
        "endpoint_conditions_serving": flag(endpoint, "conditions", "serving"),
        "endpoint_conditions_terminating": flag(endpoint, "conditions", "terminating"),
        "endpoint_hostname": text_at(endpoint, "hostname"),
        "endpoint_node_name": text_at(endpoint, "nodeName"),
        "endpoint_zone": text_at(endpoint, "zone"),
    }
    topology = value_at(endpoint, "deprecatedTopology")
    for key, value in topology.items() if isinstance(topology, dict) else ():
        values[f"endpoint_topology_{sanitized(key)}"] = str(value)
        values[f"endpoint_topology_present_{sanitized(key)}"] = "true"
    return prefixed("endpointslice", values)


def _node_named(reference: Json) -> str:
    return text_at(reference, "name") if text_at(reference, "kind") == "Node" else ""


def _entries(shared: Mapping[str, str], addresses: Iterator[_Address], behind: Behind) -> Iterator[Entry]:
    seen: dict[str, tuple[Json, set[int | None]]] = {}
    for address in addresses:
        labels = {**shared, **address.labels, **node_labels(behind.nodes, address.node)}
        if (pod := behind.pod(address.reference)) is not None:
            labels |= {**pod_labels(pod), **_container_at(pod, address)}
            seen.setdefault(key_of(pod), (pod, set()))[1].add(address.port)
        place = address.host if address.port is None else joined(address.host, address.port)
        yield Entry((place,), labels)
    for pod, ports in seen.values():
        yield from _other_ports(shared, pod, ports)


def _container_at(pod: Json, address: _Address) -> dict[str, str]:
    """Return the labels of the last container that has the address's port."""
    found: dict[str, str] = {}
    for container in containers(pod):
        port = next((p for p in container.ports if port_of(p, "containerPort") == address.port), None)
        if port is not None and address.port is not None:
            found = {**container_labels(container), **container_port_labels(port)}
    return found


def _other_ports(shared: Mapping[str, str], pod: Json, seen: set[int | None]) -> Iterator[Entry]:
    ip = text_at(pod, "status", "podIP")
    for container in containers(pod) if ip else ():
        for port in container.ports:
            number = port_of(port, "containerPort")
            if number is not None and number not in seen:
                own = {**container_labels(container), **container_port_labels(port), **pod_labels(pod)}
                yield Entry((joined(ip, number),), {**shared, **own})
