"""The fields of an object that are kept: without those that take most of its room and are in no label. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from controlplane.traffic.kubernetes.resource import Json

_CONTAINERS = ("containers", "initContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses")
_OF_POD = (*_CONTAINERS, "nodeName")
_OF_CONTAINER = ("name", "image", "ports")
_OF_STATUS = ("name", "containerID")


def kept(found: Json) -> Json:
    """Return an object without its managed fields; a pod also without what runs in it, and how."""
    out = dict(found)
    metadata, spec, status = (found.get(part) for part in ("metadata", "spec", "status"))
    if isinstance(metadata, dict):
        out["metadata"] = {name: value for name, value in metadata.items() if name != "managedFields"}
    if isinstance(spec, dict) and "containers" in spec:
        out["spec"] = _parts({name: spec[name] for name in _OF_POD if name in spec}, _CONTAINERS, _OF_CONTAINER)
        if isinstance(status, dict):
            out["status"] = _parts(status, _STATUSES, _OF_STATUS)
    return out


def _parts(found: Json, lists: Collection[str], fields: Collection[str]) -> Json:
    """Return an object of whose lists only some fields of each item are left."""
    return {name: _items(value, fields) if name in lists else value for name, value in found.items()}


def _items(found: Any, fields: Collection[str]) -> Any:
    if not isinstance(found, list):
        return found
    return [{name: one[name] for name in fields if name in one} if isinstance(one, dict) else one for one in found]
