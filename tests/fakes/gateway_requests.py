"""Heads of requests and backends for tests of the dialects."""

from __future__ import annotations

from controlplane.gateway.desired.document import BackendSpec
from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.request import Ask, Operation, RequestHead

DIALECTS = AllDialects()


def head(method: str, target: str, **fields: str) -> RequestHead:
    """Return a head. `x_model` names the field x-model."""
    listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    known = dict(reversed(listed))
    path = target.split("?")[0].encode()
    return RequestHead(method.encode(), target.encode(), path, listed, None, False, True, known=known)


def operation(method: str, target: str, **fields: str) -> Operation:
    """Return the operation of a path that is recognised."""
    found = DIALECTS.recognise(head(method, target, **fields))
    assert isinstance(found, Operation), found
    return found


def asked(target: str, body: bytes, **fields: str) -> Ask:
    """Return what a POST asks."""
    found = DIALECTS.read(operation("POST", target, **fields), head("POST", target, **fields), body)
    assert isinstance(found, Ask), found
    return found


def backend(served: str = "served", url: str = "http://engine:8000", path_version: str = "") -> BackendSpec:
    """Return an engine."""
    return BackendSpec(url, "vllm", served, path_version)
