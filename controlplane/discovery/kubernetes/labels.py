"""Names and values of the labels that begin with `__meta_kubernetes_`. Pure.

Names are interned: thousands of objects have the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from sys import intern
from typing import Any

from controlplane.traffic.kubernetes.resource import Json, text_at, value_at

PREFIX = "__meta_kubernetes_"
NAMESPACE = f"{PREFIX}namespace"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


def prefixed(kind: str, values: Mapping[str, str | None]) -> dict[str, str]:
    """Return labels `__meta_kubernetes_KIND_NAME`, without those whose value is None or empty."""
    return {intern(f"{PREFIX}{kind}_{name}"): value for name, value in values.items() if value}


def object_labels(kind: str, found: Json) -> dict[str, str]:
    """Return the labels of an object's name, labels and annotations."""
    labels = {f"{PREFIX}{kind}_name": text_at(found, "metadata", "name")}
    for part, name in (("labels", "label"), ("annotations", "annotation")):
        labels |= _each(f"{kind}_{name}", value_at(found, "metadata", part))
    return labels


def node_labels(nodes: Mapping[str, Json], name: str) -> dict[str, str]:
    """Return the labels of a pod's or an endpoint's node. Empty: the node is not known."""
    node = nodes.get(name)
    return {} if node is None else object_labels("node", node)


def key_of(found: Json) -> str:
    """Return `namespace/name` of an object; of one without a namespace its name."""
    namespace, name = text_at(found, "metadata", "namespace"), text_at(found, "metadata", "name")
    return f"{namespace}/{name}" if namespace else name


def in_namespace(found: Json) -> dict[str, str]:
    """Return the label of an object's namespace."""
    return {NAMESPACE: text_at(found, "metadata", "namespace")}


def sanitized(name: str) -> str:
    """Return a key of Kubernetes as a part of a label's name."""
    return _NOT_IN_NAMES.sub("_", name)


def joined(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def flag(found: Json, *keys: str) -> str | None:
    """Return the truth value at a path of keys as "true" or "false"; None where there is none."""
    value = value_at(found, *keys)
    return str(value).lower() if isinstance(value, bool) else None


def port_of(found: Json, field: str) -> int | None:
    """Return a port's number; None where there is none."""
    value = found.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _each(name: str, pairs: Any) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, value in pairs.items() if isinstance(pairs, dict) else ():
        if isinstance(value, str):
            part = sanitized(key)
            labels[intern(f"{PREFIX}{name}_{part}")] = value
            labels[intern(f"{PREFIX}{name}present_{part}")] = "true"
    return labels
