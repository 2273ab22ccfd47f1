"""Nodes as addresses of their kubelets. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.discovery.entries import Entry
from controlplane.discovery.kubernetes.labels import joined, object_labels, port_of, prefixed, sanitized
from controlplane.traffic.kubernetes.resource import Json, listed_at, text_at, value_at

_ORDER = ("InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname")
"""Types of addresses, the preferred first."""


def node_entries(node: Json) -> Iterator[Entry]:
    """Yield the address of a node's kubelet. A node without addresses has none."""
    first: dict[str, str] = {}
    for address in listed_at(node, "status", "addresses"):
        first.setdefault(text_at(address, "type"), text_at(address, "address"))
    host = next((first[kind] for kind in _ORDER if kind in first), "")
    if not host:
        return
    endpoint = value_at(node, "status", "daemonEndpoints", "kubeletEndpoint")
    port = port_of(endpoint, "Port") if isinstance(endpoint, dict) else None
    labels = {
        **prefixed("node", {"provider_id": text_at(node, "spec", "providerID")}),
        **object_labels("node", node),
        **prefixed("node_address", {sanitized(kind): value for kind, value in first.items()}),
        "instance": text_at(node, "metadata", "name"),
    }
    yield Entry((joined(host, port or 0),), labels)
