"""Routes alerts to the notifiers of their receivers, holds some back, and groups the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from alerts.dispatch.groups import Picture
from alerts.dispatch.muting import Mute, Muting, Stage
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.tree import Node, Routing
from collectors.durations import format_duration
from collectors.samples import Labels

UNROUTED_SEVERITY = "none"
"""Severity of alerts that only a route with matchers gets, never the root. The Watchdog has it: it is for machines."""


@dataclass(frozen=True)
class Outlet:
    """A route and one notifier of its receiver, or of a step of its escalation. Its groups have their own messages."""

    node: Node
    """The route. That of an escalation has the step's time as its `group_wait`."""
    notifier: str
    after_s: float = 0.0
    """Time of the step of the escalation, in seconds; 0: the route's own receiver."""

    def group_labels(self, labels: Labels) -> Labels:
        """Return the labels that an alert is grouped by."""
        if self.node.each_alert:
            return labels
        return tuple((k, v) for k, v in labels if k in self.node.group_by)

    def key(self, labels: Labels) -> str:
        """Return the readable name of an alert's group: `ops{alertname='LLMModelDown',model='chat'}`."""
        return f"{self.prefix}{','.join(f'{k}={v!r}' for k, v in self.group_labels(labels))}}}"

    @property
    def prefix(self) -> str:
        """Begin of the names of its groups.

        A route below the root has its matchers in it, `ops/{severity="page"}{`, an escalation its time, `boss^15m{`.
        """
        step = f"^{format_duration(self.after_s)}" if self.after_s else ""
        return f"{self.notifier}{self.node.key}{step}{{"


@dataclass(frozen=True)
class Stages:
    """All that lies between an alert and its notification: routes, inhibitions, time intervals, notifiers."""

    routing: Routing
    notifiers: Mapping[str, tuple[str, ...]]
    """Names of the notifiers of each receiver. A receiver without notifiers drops its alerts, as in Alertmanager."""
    console_url: str
    """Address of the control plane for people. Messages link to it."""
    interactive: frozenset[str] = frozenset()
    """Names of the notifiers whose messages have buttons that act on alerts."""
    _known: dict[Labels, tuple[Outlet, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Outlets of the label sets of the last decision: most alerts are in the next one too."""

    def outlets(self, labels: Labels) -> tuple[Outlet, ...]:
        """Return the outlets of an alert, in the order of the file, each once."""
        found = self._known.get(labels)
        return self._find(labels) if found is None else found

    def outlet_of(self, key: str) -> Outlet | None:
        """Return the outlet that a stored group belongs to by its name; None: its route or notifier is gone."""
        found = [one for node in self.routing.root.walk() for one in self.of(node) if key.startswith(one.prefix)]
        return max(found, key=lambda one: len(one.prefix), default=None)

    def remember(self, labels: Mapping[Labels, tuple[Outlet, ...]]) -> None:
        """Keep the outlets of these label sets, and forget all others."""
        self._known.clear()
        self._known.update(labels)

    def nodes(self, labels: Mapping[str, str]) -> list[Node]:
        """Return the routes that an alert takes, in the order of the file."""
        nodes = self.routing.root.find(labels)
        if labels.get("severity") == UNROUTED_SEVERITY:
            nodes = [node for node in nodes if node.matchers]
        return nodes

    def _find(self, labels: Labels) -> tuple[Outlet, ...]:
        return tuple(dict.fromkeys(outlet for node in self.nodes(dict(labels)) for outlet in self.of(node)))

    def of(self, node: Node) -> list[Outlet]:
        """Return the outlets of a route: those of its receiver, then those of its escalation."""
        found = [Outlet(node, name) for name in self.notifiers.get(node.receiver, ())]
        for step in node.escalation:
            later = replace(node, group_wait_s=step.after_s)
            found += [Outlet(later, name, step.after_s) for name in self.notifiers.get(step.receiver, ())]
        return found


class Held(NamedTuple):
    """A firing alert that is held back, and all reasons."""

    instance: AlertInstance
    mutes: tuple[Mute, ...]

    def by(self, stage: Stage) -> Mute | None:
        """Return the reason of a stage; None when it does not hold the alert back."""
        return next((mute for mute in self.mutes if mute.stage is stage), None)


@dataclass
class Members:
    """The firing alerts of one group, by labels."""

    outlet: Outlet | None = None
    firing: dict[Labels, AlertInstance] = field(default_factory=dict)
    held: dict[Labels, Held] = field(default_factory=dict)


@dataclass
class Sorted:
    """Alerts, sorted into groups."""

    groups: dict[str, Members] = field(default_factory=dict)
    """Members by group key. Only groups with a firing alert are in it."""
    firing: set[Labels] = field(default_factory=set)
    """Labels of all firing alerts, whichever route they take."""
    ended: dict[Labels, AlertInstance] = field(default_factory=dict)
    """Resolved alerts, by labels."""

    def members(self, key: str) -> Members:
        """Return the firing alerts of a group."""
        return self.groups.get(key) or Members()


def sort(stages: Stages, picture: Picture, at: float) -> Sorted:
    """Route, hold back and group the alerts at unix second `at`."""
    found = Sorted()
    instances = sorted(picture.instances, key=lambda i: (i.active_at, i.labels))
    firing = [one for one in instances if one.state is AlertState.FIRING]
    muting = Muting(stages.routing, firing, picture.holds, at)
    by_route: dict[str, Mute | None] = {}
    known: dict[Labels, tuple[Outlet, ...]] = {}
    for instance in firing:
        outlets = known[instance.labels] = stages.outlets(instance.labels)
        found.firing.add(instance.labels)
        reasons = muting.reasons(instance, dict(instance.labels)) if outlets else []
        for outlet in outlets:
            path = outlet.node.path
            if path not in by_route:
                by_route[path] = muting.of_route(outlet.node)
            mutes = (*filter(None, [by_route[path]]), *reasons)
            members = found.groups.setdefault(outlet.key(instance.labels), Members(outlet))
            if mutes:
                members.held.setdefault(instance.labels, Held(instance, mutes))
            else:
                members.firing.setdefault(instance.labels, instance)
    for instance in instances:
        if instance.state is not AlertState.FIRING and instance.resolved_at is not None:
            found.ended[instance.labels] = instance
    stages.remember(known)
    return found
