"""Parts that monitors of all kinds share: their defaults, their result, their times and their lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from collectors.discovery.group import DiscoveryGroup, SdConfig
from collectors.discovery.kubernetes_roles import Role
from collectors.discovery.kubernetes_sd import KubernetesSd
from collectors.discovery.monitors.list_part import ListPart
from controlplane.discovery.kubernetes.labels import NAMESPACE
from controlplane.discovery.monitors.access import Tell
from controlplane.discovery.monitors.fields import Fields
from controlplane.discovery.monitors.scrape_class import Classes

MAX_ENDPOINTS = 100
"""Most endpoints or sources of a monitor (chosen): each is a group of targets with rules of its own."""
_UNSTAMPED = ("honorTimestamps", "trackTimestampsStaleness")


@dataclass(frozen=True)
class Defaults:
    """Settings of monitors that have none of their own."""

    at: KubernetesSd
    """The cluster, the account and the namespaces that are read. Its role has no meaning."""
    role: Role = Role.ENDPOINTS
    """Role of the addresses behind Services."""
    interval_s: float = 30.0
    timeout_s: float = 10.0
    classes: Classes = ()
    """The scrape classes that monitors may name."""


class Made(NamedTuple):
    """Groups of a monitor, and sentences about the rest of it."""

    groups: tuple[DiscoveryGroup, ...] = ()
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def times_of(fields: Fields, interval: str, timeout: str, defaults: Defaults) -> tuple[float, float]:
    """Return interval and timeout in seconds, of the fields with these names. Raises FieldError."""
    interval_s = fields.seconds(interval, defaults.interval_s)
    timeout_s = fields.seconds(timeout, min(defaults.timeout_s, interval_s))
    if timeout_s > interval_s:
        raise fields.error(timeout, f"is longer than the interval of {interval_s:g} s")
    return interval_s, timeout_s


def namespaces_in(selector: Fields, own: str) -> Sequence[str] | None:
    """Return the namespaces of a namespaceSelector; None: all of them. Without any it is `own`. Raises FieldError."""
    if selector.flag("any", False):
        return None
    return tuple(dict.fromkeys(selector.texts("matchNames"))) or (own,)


def list_of(role: Role, at: KubernetesSd, *, with_nodes: bool = False) -> KubernetesSd:
    """Return the list of addresses that all monitors of a role share. It has pods without an IP: these are told."""
    return replace(at, role=role, selectors=(), with_nodes=with_nodes, with_waiting=role is Role.POD)


def part_of(whole: KubernetesSd, namespaces: Sequence[str] | None) -> SdConfig:
    """Return the addresses of a list in some namespaces; None: all of them."""
    return whole if namespaces is None else ListPart(whole, NAMESPACE, tuple(namespaces))


def unread(fields: Fields, known: Iterable[str]) -> Iterator[str]:
    """Yield a sentence about each field that has no effect. Values that limit and change nothing are not told."""
    for name in fields.names():
        if name not in known and fields.get(name) not in (0, "", False, [], {}):
            cure = "; scrape: in fleet.yaml has limits" if name.lower().endswith("limit") else ""
            yield f"{fields.at(name)} has no effect{cure}"


def tell_stamps(fields: Fields, tell: Tell) -> None:
    """Tell of fields that ask for the times in a page."""
    for name in _UNSTAMPED:
        if fields.flag(name, False):
            tell(f"{fields.at(name)} has no effect: samples have the time of their scrape")


def foreign(names: Iterable[str], field: str, defaults: Defaults) -> Iterator[str]:
    """Yield a sentence about namespaces that a monitor selects by a field and nobody reads."""
    read = defaults.at.namespaces
    if not read or defaults.at.own_namespace:
        return
    for name in names:
        if name not in read:
            yield f"{field} names {name}, which is not one of namespaces: of prometheus_operator"
