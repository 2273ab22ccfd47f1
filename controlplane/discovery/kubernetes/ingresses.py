"""Ingresses as addresses: one of each path of each rule, for probes from outside. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collectors.discovery.entries import Entry
from controlplane.discovery.kubernetes.labels import in_namespace, object_labels, prefixed
from controlplane.traffic.kubernetes.resource import Json, listed_at, text_at, value_at


def ingress_entries(ingress: Json) -> Iterator[Entry]:
    """Yield the addresses of an Ingress. A rule without a host has an empty one."""
    shared = {
        **in_namespace(ingress),
        **object_labels("ingress", ingress),
        **prefixed("ingress", {"class_name": text_at(ingress, "spec", "ingressClassName")}),
    }
    secured = [host for tls in listed_at(ingress, "spec", "tls") for host in _texts(value_at(tls, "hosts"))]
    for rule in listed_at(ingress, "spec", "rules"):
        host = text_at(rule, "host")
        scheme = "https" if any(_matches(pattern, host) for pattern in secured) else "http"
        has_paths = isinstance(value_at(rule, "http"), dict)
        paths = [text_at(path, "path") or "/" for path in listed_at(rule, "http", "paths")] if has_paths else ["/"]
        for path in paths:
            yield Entry((host,), {**shared, **prefixed("ingress", {"scheme": scheme, "host": host, "path": path})})


def _matches(pattern: str, host: str) -> bool:
    """Return whether a host of `tls` is a rule's host. `*` stands for the first part of a name."""
    wanted, found = pattern.split("."), host.split(".")
    return pattern == host or (wanted[0] == "*" and len(wanted) == len(found) and wanted[1:] == found[1:])


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
