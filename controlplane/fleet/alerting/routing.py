"""The tree of routes, the inhibitions and the time intervals of fleet.yaml, as dispatch takes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from alerts.routing.flapping import Flapping
from alerts.routing.intervals import TimeInterval, day_span, month_span, time_span, weekday_span, year_span, zone_of
from alerts.routing.matchers import Matcher, parse_matchers
from alerts.routing.storms import Storms
from alerts.routing.tree import Escalation, InhibitRule, Node, Receiver, Routing, route_key
from controlplane.config.model import LOG, Fleet
from controlplane.config.notifications.routes import (
    ChildRoute,
    EscalationStep,
    FlappingSection,
    RouteSection,
    StormSection,
    Times,
)


def routing_of(fleet: Fleet) -> Routing:
    """Return the routing of a fleet.yaml.

    Without a `route:` all alerts go to the only notifier, or to the log if there is not exactly one.
    """
    section = fleet.route
    if section is None:
        names = [notifier.name for notifier in fleet.notifiers]
        section = RouteSection(receiver=names[0] if len(names) == 1 else LOG)
    root = Node(
        "route",
        0,
        (),
        section.receiver,
        section.group_by,
        group_wait_s=section.group_wait,
        group_interval_s=section.group_interval,
        repeat_interval_s=section.repeat_interval,
        escalation=_steps(section.escalation),
    )
    root = replace(root, routes=_below(section.routes, root))
    every = (
        *(notifier.name for notifier in fleet.notifiers),
        *(name for node in root.walk() for name in node.receivers),
    )
    return Routing(
        root,
        {name: Receiver(name, 0, ()) for name in every},
        tuple(
            InhibitRule(0, _matchers(rule.source_matchers), _matchers(rule.target_matchers), rule.equal)
            for rule in fleet.inhibit_rules
        ),
        _intervals(fleet),
        flapping=flapping_of(section.flapping),
        storms=storms_of(section.storms),
    )


def flapping_of(section: FlappingSection | None) -> Flapping | None:
    """Return when an alert flaps; None: never."""
    if section is None or not section.enabled:
        return None
    return Flapping(section.changes, section.window, section.settled_after)


def storms_of(section: StormSection | None) -> Storms | None:
    """Return when alerts are a storm; None: never."""
    if section is None or not section.enabled:
        return None
    return Storms(section.groups, section.window, section.share, section.causes)


def _below(sections: Sequence[ChildRoute], above: Node) -> tuple[Node, ...]:
    keys: set[str] = set()
    return tuple(_node(section, above, number, keys) for number, section in enumerate(sections))


def _node(section: ChildRoute, above: Node, number: int, siblings: set[str]) -> Node:
    matchers = _matchers(section.matchers)
    node = Node(
        f"{above.path}.routes[{number}]",
        0,
        matchers,
        section.receiver or above.receiver,
        above.group_by if section.group_by is None else section.group_by,
        above.group_wait_s if section.group_wait is None else section.group_wait,
        above.group_interval_s if section.group_interval is None else section.group_interval,
        above.repeat_interval_s if section.repeat_interval is None else section.repeat_interval,
        section.continue_,
        section.mute_time_intervals,
        section.active_time_intervals,
        escalation=above.escalation if section.escalation is None else _steps(section.escalation),
        key=route_key(above.key, matchers, siblings),
    )
    return replace(node, routes=_below(section.routes, node))


def _steps(sections: Sequence[EscalationStep]) -> tuple[Escalation, ...]:
    return tuple(Escalation(step.after, step.receiver) for step in sections)


def _matchers(texts: Sequence[str]) -> tuple[Matcher, ...]:
    found = dict.fromkeys(matcher for text in texts for matcher in parse_matchers(text))
    return tuple(sorted(found, key=lambda matcher: (matcher.name, matcher.value, matcher.op)))


def _intervals(fleet: Fleet) -> Mapping[str, tuple[TimeInterval, ...]]:
    return {one.name: tuple(_interval(times) for times in one.time_intervals) for one in fleet.time_intervals}


def _interval(times: Times) -> TimeInterval:
    return TimeInterval(
        tuple(time_span(span.start_time, span.end_time) for span in times.times),
        tuple(map(weekday_span, times.weekdays)),
        tuple(map(day_span, times.days_of_month)),
        tuple(map(month_span, times.months)),
        tuple(map(year_span, times.years)),
        zone_of(times.location),
    )
