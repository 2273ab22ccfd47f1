"""The tree of routes: which receivers get an alert, grouped how, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alerts.routing.flapping import Flapping
from alerts.routing.intervals import TimeInterval
from alerts.routing.matchers import Matcher, all_match
from alerts.routing.names import short
from alerts.routing.storms import Storms

ALL_LABELS = "..."
"""In `group_by` alone: each alert is a group of its own."""


@dataclass(frozen=True)
class Escalation:
    """A further receiver of a route's alerts, after they have fired for a time and nobody has acknowledged them."""

    after_s: float
    """Seconds since the group opened."""
    receiver: str


@dataclass(frozen=True)
class Node:
    """A route, with the settings that it takes over from the routes above it. Durations are seconds."""

    path: str
    """Its place in the tree: `route`, `route.routes[2].routes[0]`."""
    line: int
    """Line in its file, from 1."""
    matchers: tuple[Matcher, ...]
    receiver: str
    group_by: tuple[str, ...]
    group_wait_s: float
    group_interval_s: float
    repeat_interval_s: float
    goes_on: bool = False
    """`continue`: the next sibling is asked too after this route has matched."""
    mute_intervals: tuple[str, ...] = ()
    """Names of the intervals in which it sends nothing. They are not taken over from above."""
    active_intervals: tuple[str, ...] = ()
    """Names of the intervals outside of which it sends nothing; none: always. They are not taken over from above."""
    routes: tuple[Node, ...] = ()
    escalation: tuple[Escalation, ...] = ()
    """Steps, which a route takes over from above. Alertmanager has none."""
    key: str = ""
    """Its matchers and those of the routes above it; "" for the root. Two siblings never have the same one.

    It names stored groups: a route that moves within the file keeps its groups.
    """

    @property
    def each_alert(self) -> bool:
        """Whether each alert is a group of its own."""
        return self.group_by == (ALL_LABELS,)

    @property
    def receivers(self) -> tuple[str, ...]:
        """Its receiver, and those of its escalation."""
        return (self.receiver, *(step.receiver for step in self.escalation))

    def find(self, labels: Mapping[str, str]) -> list[Node]:
        """Return the routes that an alert takes, deepest ones, in order; [] when this one does not match."""
        if not all_match(self.matchers, labels):
            return []
        found: list[Node] = []
        for route in self.routes:
            below = route.find(labels)
            found += below
            if below and not route.goes_on:
                break
        return found or [self]

    def walk(self) -> Iterator[Node]:
        """Yield this route and all below it, in the order of the file."""
        yield self
        for route in self.routes:
            yield from route.walk()


def route_key(above: str, matchers: Sequence[Matcher], taken: set[str]) -> str:
    """Return the key of a route below the route with key `above`. `taken` are the keys of its earlier siblings."""
    key = plain = short(f"{above}/{{{','.join(map(str, matchers))}}}")
    number = 1
    while key in taken:
        number += 1
        key = f"{plain}#{number}"
    taken.add(key)
    return key


@dataclass(frozen=True)
class InhibitRule:
    """Alerts that match `target` are held back while one that matches `source` fires with the same `equal` labels."""

    line: int
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def holds(self, target: Mapping[str, str]) -> bool:
        """Return whether an alert with these labels can be held back."""
        return all_match(self.target, target)

    def inhibits(self, source: Mapping[str, str], target: Mapping[str, str]) -> bool:
        """Return whether a firing alert holds another one back.

        An alert that matches both sides is never held back by one that does too: else both would hold each other back.
        """
        return (
            self.holds(target)
            and all_match(self.source, source)
            and not (all_match(self.source, target) and all_match(self.target, source))
            and all(source.get(name, "") == target.get(name, "") for name in self.equal)
        )


@dataclass(frozen=True)
class Receiver:
    """A receiver of an `alertmanager.yml`: its name, and the kinds of its configurations, such as `slack`."""

    name: str
    line: int
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Routing:
    """All that decides where an alert goes, and whether it is held back."""

    root: Node
    receivers: Mapping[str, Receiver]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    intervals: Mapping[str, Sequence[TimeInterval]] | None = None
    flapping: Flapping | None = None
    """None: every begin and every end of an alert is sent, as Alertmanager does."""
    storms: Storms | None = None
    """None: every group sends its own messages, as Alertmanager does."""
    root_sends_none: bool = False
    """Whether the root sends alerts of the severity `none`, as Alertmanager does. Routes with matchers always do."""

    def held_back(self, node: Node, at: float) -> str:
        """Return why a route sends nothing at unix second `at`; "" when it sends."""
        for name in node.mute_intervals:
            if self._in(name, at):
                return f"muted in the time interval {name}"
        if node.active_intervals and not any(self._in(name, at) for name in node.active_intervals):
            return f"active only in {' and '.join(node.active_intervals)}"
        return ""

    def _in(self, name: str, at: float) -> bool:
        return any(interval.has(at) for interval in (self.intervals or {})[name])
