"""Services as addresses: one of each port, by the name in the cluster's DNS. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.discovery.entries import Entry
from controlplane.discovery.kubernetes.labels import in_namespace, joined, object_labels, port_of, prefixed
from controlplane.traffic.kubernetes.resource import Json, listed_at, text_at


def service_entries(service: Json) -> Iterator[Entry]:
    """Yield the addresses of a Service."""
    shared = {**service_labels(service), **prefixed("service", _kind(service))}
    host = f"{text_at(service, 'metadata', 'name')}.{text_at(service, 'metadata', 'namespace')}.svc"
    for port in listed_at(service, "spec", "ports"):
        number = port_of(port, "port")
        if number is None:
            continue
        values = {
            "port_name": text_at(port, "name"),
            "port_number": str(number),
            "port_protocol": text_at(port, "protocol"),
        }
        yield Entry((joined(host, number),), {**shared, **prefixed("service", values)})


def service_labels(service: Json) -> dict[str, str]:
    """Return the labels of a Service that its endpoints have too."""
    return {**in_namespace(service), **object_labels("service", service)}


def _kind(service: Json) -> dict[str, str | None]:
    kind = text_at(service, "spec", "type")
    found: dict[str, str | None] = {"type": kind}
    if kind == "ExternalName":
        found["external_name"] = text_at(service, "spec", "externalName")
    else:
        found["cluster_ip"] = text_at(service, "spec", "clusterIP")
    if kind == "LoadBalancer":
        found["loadbalancer_ip"] = text_at(service, "spec", "loadBalancerIP")
    return found
