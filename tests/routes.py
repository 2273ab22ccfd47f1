"""Routes for tests of dispatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from alerts.dispatch import Outlet, Stages
from alerts.routing.flapping import Flapping
from alerts.routing.intervals import TimeInterval
from alerts.routing.storms import Storms
from alerts.routing.tree import InhibitRule, Node, Receiver, Routing


def root(
    receiver: str = "ops",
    group_by: Sequence[str] = ("alertname", "model"),
    *routes: Node,
    wait_s: float = 10,
    interval_s: float = 60,
    repeat_s: float = 3600,
) -> Node:
    """Return a root route."""
    return Node("route", 1, (), receiver, tuple(group_by), wait_s, interval_s, repeat_s, routes=routes)


def stages(
    node: Node | None = None,
    *inhibit_rules: InhibitRule,
    intervals: Mapping[str, Sequence[TimeInterval]] | None = None,
    notifiers: Mapping[str, tuple[str, ...]] | None = None,
    console_url: str = "http://c",
    flapping: Flapping | None = None,
    storms: Storms | None = None,
) -> Stages:
    """Return stages whose receivers each have one notifier of the same name, unless `notifiers` says otherwise."""
    tree = node or root()
    names = dict.fromkeys(one.receiver for one in tree.walk())
    routing = Routing(tree, {name: Receiver(name, 1, ()) for name in names}, inhibit_rules, intervals, flapping, storms)
    return Stages(routing, {name: (name,) for name in names} | dict(notifiers or {}), console_url)


def without_wait(node: Node) -> Node:
    """Return a route that sends the first message of a group at once."""
    return replace(node, group_wait_s=0.0)


def key_of(node: Node, labels: Sequence[tuple[str, str]]) -> str:
    """Return the name of the group of an alert with these labels at a route."""
    return Outlet(node, node.receiver).key(tuple(labels))
