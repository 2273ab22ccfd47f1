"""The roles of kubernetes_sd, the selectors of their objects, and which settings go together. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Role(StrEnum):
    """Kind of the objects that become addresses, by Prometheus's name."""

    POD = "pod"
    SERVICE = "service"
    ENDPOINTS = "endpoints"
    ENDPOINTSLICE = "endpointslice"
    NODE = "node"
    INGRESS = "ingress"


READ_BY: Mapping[Role, tuple[Role, ...]] = MappingProxyType(
    {
        Role.POD: (Role.POD,),
        Role.SERVICE: (Role.SERVICE,),
        Role.ENDPOINTS: (Role.ENDPOINTS, Role.SERVICE, Role.POD),
        Role.ENDPOINTSLICE: (Role.ENDPOINTSLICE, Role.SERVICE, Role.POD),
        Role.NODE: (Role.NODE,),
        Role.INGRESS: (Role.INGRESS,),
    }
)
"""The kinds of objects that a role reads, its own first. They may have selectors."""


class Selector(NamedTuple):
    """Selection of the objects of one kind."""

    role: Role
    label: str = ""
    """A label selector such as `app=vllm,tier!=test`; "" is all."""
    field: str = ""
    """A field selector such as `status.phase=Running`; "" is all."""


def conflicts(
    role: Role,
    selectors: Sequence[Selector],
    *,
    api_server: str,
    kubeconfig: str,
    has_access: bool,
    own_namespace: bool,
) -> Iterator[tuple[str, str]]:
    """Yield what Prometheus refuses, and a password in an address, as the name of a field and a sentence about it."""
    if "@" in api_server:  # the address is in messages
        yield "api_server", "has a user; write basic_auth instead"
    if api_server and kubeconfig:
        yield "kubeconfig_file", "cannot be given beside api_server; remove one of them"
    if has_access and not api_server:
        yield "", "credentials and TLS settings need api_server; a kubeconfig and a pod's account have their own"
    if own_namespace and (api_server or kubeconfig):
        yield (
            "namespaces",
            "own_namespace is that of the pod's own account; with another, write names: [NAMESPACE]",
        )
    seen: set[Role] = set()
    for one in selectors:
        if one.role not in READ_BY[role]:
            known = ", ".join(READ_BY[role])
            yield "selectors", f"role {role} reads no objects of role {one.role}; expected {known}"
        elif one.role in seen:
            yield "selectors", f"role {one.role} has two selectors; join them by commas"
        seen.add(one.role)
        yield from (("selectors", fault) for fault in _faults(one))


_KEY = r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_LABEL = re.compile(
    rf"\s*(!?\s*{_KEY}|{_KEY}\s*(==|=|!=)\s*{_VALUE}|{_KEY}\s+(in|notin)\s*\(\s*{_VALUE}(\s*,\s*{_VALUE})*\s*\)"
    rf"|{_KEY}\s*[<>]\s*[0-9]+)\s*"
)
_FIELD = re.compile(r"[^=!]+(==|=|!=)([^=,\\]|\\[=,\\])*")
_OUTSIDE_BRACKETS = re.compile(r",(?![^(]*\))")


def _faults(one: Selector) -> Iterator[str]:
    for part in _OUTSIDE_BRACKETS.split(one.label) if one.label.strip() else ():
        if not _LABEL.fullmatch(part):
            yield f"{part.strip()[:80]!r} is no label selector such as app=vllm or 'tier in (a,b)'"
    for part in filter(None, re.split(r"(?<!\\),", one.field)):
        if not _FIELD.fullmatch(part):
            yield f"{part[:80]!r} is no field selector such as status.phase=Running"
