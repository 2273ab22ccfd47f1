"""Routes alerts to the notifiers of their receivers, holds some back, and groups the others. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from alerts.dispatch.flapping import steadied
from alerts.dispatch.groups import GroupState, Picture
from alerts.dispatch.muting import Mute, Muting, Stage
from alerts.duty import Roster
from alerts.interfaces import Above, AlertInstance, AlertState, Escalated, Flap, OnCall
from alerts.routing.names import short
from alerts.routing.tree import Node, Routing
from collectors.durations import format_duration
from collectors.samples import Labels

UNROUTED_SEVERITY = "none"
"""Severity of alerts that only a route with matchers gets, and not the root of fleet.yaml. The Watchdog has it: it is
for machines."""


@dataclass(frozen=True)
class Outlet:
    """A route and one notifier of its receiver, or of a step of its escalation. Its groups have their own messages."""

    node: Node
    """The route. That of an escalation has the step's time as its `group_wait`."""
    notifier: str
    after_s: float = 0.0
    """Time of the step of the escalation, in seconds; 0: the route's own receiver."""
    step: int = 0
    """Number of the step, from 1; 0: the route's own receiver."""
    duty: tuple[Duty, ...] = ()
    """Conditions for sending. The last one names the rota of the notifier, or of the fallback that it is."""

    def group_labels(self, labels: Labels) -> Labels:
        """Return the labels that an alert is grouped by."""
        if self.node.each_alert:
            return labels
        return tuple((k, v) for k, v in labels if k in self.node.group_by)

    def key(self, labels: Labels) -> str:
        """Return the readable name of an alert's group: `ops{alertname='LLMModelDown',model='chat'}`.

        Very long labels are shortened in it.
        """
        return f"{self.prefix}{short(','.join(f'{k}={v!r}' for k, v in self.group_labels(labels)))}}}"

    @property
    def prefix(self) -> str:
        """Begin of the names of its groups.

        A route below the root has its matchers in it, `ops/{severity="page"}{`, an escalation its time, `boss^15m{`.
        """
        step = f"^{format_duration(self.after_s)}" if self.after_s else ""
        return f"{self.notifier}{self.node.key}{step}{{"


class Place(NamedTuple):
    """An outlet of an alert, and the key of its group there."""

    outlet: Outlet
    key: str


class Duty(NamedTuple):
    """A condition on a rota: somebody is on call, or nobody is."""

    rota: str
    somebody: bool


_NO_ROSTERS: Mapping[str, Roster] = MappingProxyType({})


def nobody_knows() -> Mapping[str, Roster]:
    """Return the rosters of a configuration without rotas: always the same object, for nothing changes."""
    return _NO_ROSTERS


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
    rotas: Mapping[str, str] = field(default_factory=dict)
    """The rota of a notifier, for those whose messages go to whoever is on call."""
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    """The receiver of each rota while nobody is on call."""
    rosters: Callable[[], Mapping[str, Roster]] = field(default=nobody_knows, compare=False)
    """Returns what is known of each rota now. Of a rota that is not in it, nobody is on call."""
    _known: dict[Labels, tuple[Place, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Places of the label sets of the last decision: most alerts are in the next one too."""

    def outlets(self, labels: Labels) -> tuple[Outlet, ...]:
        """Return the outlets of an alert, in the order of the file, each once."""
        return tuple(place.outlet for place in self.places(labels))

    def places(self, labels: Labels) -> tuple[Place, ...]:
        """Return the outlets of an alert with the group in which it is there."""
        found = self._known.get(labels)
        return self._find(labels) if found is None else found

    def outlet_of(self, key: str) -> Outlet | None:
        """Return the outlet that a stored group belongs to by its name; None: its route or notifier is gone."""
        found = [one for node in self.routing.root.walk() for one in self.of(node) if key.startswith(one.prefix)]
        return max(found, key=lambda one: len(one.prefix), default=None)

    def remember(self, labels: Mapping[Labels, tuple[Place, ...]]) -> None:
        """Keep the places of these label sets, and forget all others."""
        self._known.clear()
        self._known.update(labels)

    def nodes(self, labels: Mapping[str, str]) -> list[Node]:
        """Return the routes that an alert takes, in the order of the file."""
        nodes = self.routing.root.find(labels)
        if labels.get("severity") == UNROUTED_SEVERITY and not self.routing.root_sends_none:
            nodes = [node for node in nodes if node.matchers]
        return nodes

    def _find(self, labels: Labels) -> tuple[Place, ...]:
        outlets = dict.fromkeys(outlet for node in self.nodes(dict(labels)) for outlet in self.of(node))
        return tuple(Place(outlet, outlet.key(labels)) for outlet in outlets)

    def of(self, node: Node) -> list[Outlet]:
        """Return the outlets of a route: those of its receiver, then those of its escalation."""
        found = {one.prefix: one for one in self._outlets(Outlet(node, ""), node.receiver)}
        for number, step in enumerate(node.escalation, 1):
            later = Outlet(replace(node, group_wait_s=step.after_s), "", step.after_s, number)
            for one in self._outlets(later, step.receiver):
                # Two steps that lead to one notifier at one time are one group: they would have one name.
                found.setdefault(one.prefix, one)
        return list(found.values())

    def _outlets(self, like: Outlet, receiver: str) -> Iterator[Outlet]:
        """Yield the outlets of a receiver, and those of the fallback of each rota on the way."""
        for name in self.notifiers.get(receiver, ()):
            rota = self.rotas.get(name)
            if rota is None:
                yield replace(like, notifier=name)
            elif all(one.rota != rota for one in like.duty):
                yield replace(like, notifier=name, duty=(*like.duty, Duty(rota, True)))
                other = replace(like, duty=(*like.duty, Duty(rota, False)))
                yield from self._outlets(other, self.fallbacks.get(rota, ""))

    def off_duty(self, outlet: Outlet, at: float) -> Mute | None:
        """Return why an outlet sends nothing at unix second `at`, as its rotas have it; None: it sends."""
        for rota, somebody in outlet.duty:
            people = self._roster(rota).on_call(at)
            if somebody and not people:
                sentence = f"nobody is on call in {rota}{self._until(rota, at)}; {self.fallbacks.get(rota)} gets it"
                return Mute(Stage.ROTA, sentence, (rota,))
            if people and not somebody:
                named = " and ".join(people)
                sentence = f"{named} {'is' if len(people) == 1 else 'are'} on call in {rota}{self._until(rota, at)}, so"
                return Mute(Stage.ROTA, f"{sentence} the fallback is not needed", people)
        return None

    def next_turn(self, at: float) -> float:
        """Return the next unix second after `at` at which a shift of a rota begins or ends."""
        return min((self._roster(rota).next_change(at) for rota in self.fallbacks), default=math.inf)

    def on_call(self, outlet: Outlet, *times: float) -> OnCall | None:
        """Return who is on call at one of several unix seconds; None for a notifier without a rota."""
        if not outlet.duty:
            return None
        rota = outlet.duty[-1].rota
        people = dict.fromkeys(name for at in times for name in self._roster(rota).on_call(at))
        return OnCall(rota, tuple(people) if outlet.duty[-1].somebody else ())

    def _roster(self, rota: str) -> Roster:
        return self.rosters().get(rota) or Roster()

    def _until(self, rota: str, at: float) -> str:
        change = self._roster(rota).next_change(at)
        if math.isinf(change):
            return ""
        return f" until {datetime.fromtimestamp(change, UTC):%Y-%m-%d %H:%M} UTC"

    def escalated(self, outlet: Outlet, labels: Labels, groups: Mapping[str, GroupState]) -> Escalated | None:
        """Return the step of an escalation that an outlet is; None for a route's own receiver.

        `labels` are those of its group, and `groups` are all stored groups.
        """
        if not outlet.step:
            return None
        node = outlet.node
        own = [groups.get(Outlet(node, name).key(labels)) for name in self.notifiers.get(node.receiver, ())]
        above = tuple(Above(group.key, group.generation) for group in own if group is not None and group.is_open)
        return Escalated(outlet.step, len(node.escalation), outlet.after_s, above)


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
    flaps: dict[Labels, Flap] = field(default_factory=dict)
    """Those that flap, held back or not."""
    folded: dict[Labels, str] = field(default_factory=dict)
    """Its alerts that are in the group of a storm instead, with the key of that group."""
    origins: list[tuple[Labels, str]] = field(default_factory=list)
    """Of the group of a storm: the key of the group from which each alert comes."""
    rest: int = 0
    """Of the group of a storm that is over: number of alerts that still fire, and went back to their groups."""

    @property
    def opens(self) -> bool:
        """Whether its group opens: with an alert that nothing but a rota holds back.

        The wait of a step counts from then on, whoever is on call in the meantime.
        """
        return bool(self.firing) or any(
            all(mute.stage is Stage.ROTA for mute in one.mutes) for one in self.held.values()
        )


@dataclass
class Sorted:
    """Alerts, sorted into groups."""

    groups: dict[str, Members] = field(default_factory=dict)
    """Members by group key. Only groups with a firing alert are in it."""
    firing: set[Labels] = field(default_factory=set)
    """Labels of all firing alerts, whichever route they take."""
    ended: dict[Labels, AlertInstance] = field(default_factory=dict)
    """Resolved alerts, by labels."""
    lasts: bool = True
    """Whether the same alerts are sorted in the same way later, as long as nothing ends that holds one back."""
    settles_at: float = math.inf
    """The first unix second at which a flapping alert has settled, if it does not change before."""

    def members(self, key: str) -> Members:
        """Return the firing alerts of a group."""
        return self.groups.get(key) or Members()


def sort(stages: Stages, picture: Picture, at: float) -> Sorted:
    """Route, hold back and group the alerts at unix second `at`. Flapping ones fire, whatever their state."""
    picture, flaps, settles_at = steadied(picture, stages.routing.flapping, at)
    found = Sorted(lasts=not flaps, settles_at=settles_at)
    instances = sorted(picture.instances, key=lambda i: (i.active_at, i.labels))
    firing = [one for one in instances if one.state is AlertState.FIRING]
    muting = Muting(stages.routing, (one.labels for one in firing), picture.holds, at)
    by_route: dict[str, Mute | None] = {}
    by_duty: dict[tuple[Duty, ...], Mute | None] = {}
    known: dict[Labels, tuple[Place, ...]] = {}
    for instance in firing:
        places = known[instance.labels] = stages.places(instance.labels)
        found.firing.add(instance.labels)
        reasons = muting.reasons(instance, dict(instance.labels)) if places else []
        for outlet, key in places:
            path = outlet.node.path
            if path not in by_route:
                by_route[path] = muting.of_route(outlet.node)
            if outlet.duty not in by_duty:
                by_duty[outlet.duty] = stages.off_duty(outlet, at)
            mutes = (*filter(None, (by_route[path], by_duty[outlet.duty])), *reasons)
            members = found.groups.setdefault(key, Members(outlet))
            if flap := flaps.get(instance.labels):
                members.flaps[instance.labels] = flap
            if mutes:
                members.held.setdefault(instance.labels, Held(instance, mutes))
            else:
                members.firing.setdefault(instance.labels, instance)
    for instance in instances:
        if instance.state is not AlertState.FIRING and instance.resolved_at is not None:
            found.ended[instance.labels] = instance
    stages.remember(known)
    return found
