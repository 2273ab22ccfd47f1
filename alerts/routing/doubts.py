"""Doubts about a valid routing: routes that get no alert, and inhibitions that reach too far. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from alerts.routing.matchers import Matcher, Op
from alerts.routing.tree import InhibitRule, Node, Routing


@dataclass(frozen=True)
class Doubt:
    """A sentence about a place in the file."""

    line: int
    sentence: str
    place: tuple[str | int, ...] = ()
    """Keys and indexes that lead to it: `("route", "routes", 2)`."""


def doubts(routing: Routing) -> list[Doubt]:
    """Return the doubts, in the order of their lines."""
    found = [*_unreachable(routing.root, ()), *_unused(routing)]
    for number, rule in enumerate(routing.inhibit_rules):
        found += _wide(rule, ("inhibit_rules", number))
    return sorted(found, key=lambda doubt: doubt.line)


def _unreachable(node: Node, above: Sequence[Matcher]) -> Iterator[Doubt]:
    """Yield a doubt for each route below `node` that no alert reaches. `above` are the matchers of its parents."""
    here = (*above, *node.matchers)
    for number, route in enumerate(node.routes):
        every = (*here, *route.matchers)
        if pair := _contradiction(every):
            yield Doubt(route.line, f"{route.path} gets no alert: none has both {pair[0]} and {pair[1]}", _place(route))
            continue
        taken = next((r for r in node.routes[:number] if not r.goes_on and _implies(every, r.matchers)), None)
        if taken is not None:
            yield Doubt(
                route.line,
                f"{route.path} gets no alert: {_named(taken)} takes each before it; set continue: "
                "true there, or move this route before it",
                _place(route),
            )
            continue
        yield from _unreachable(route, here)


def _implies(known: Sequence[Matcher], wanted: Sequence[Matcher]) -> bool:
    """Return whether alerts that match `known` certainly match `wanted`."""
    fixed = {matcher.name: matcher.value for matcher in known if matcher.op is Op.EQUAL}
    return all(one in known or (one.name in fixed and one.matches(fixed)) for one in wanted)


def _contradiction(matchers: Sequence[Matcher]) -> tuple[Matcher, Matcher] | None:
    """Return two matchers that no alert matches both."""
    for first, second in combinations(matchers, 2):
        for one, other in ((first, second), (second, first)):
            if one.name == other.name and one.op is Op.EQUAL and not other.matches({one.name: one.value}):
                return one, other
    return None


def _unused(routing: Routing) -> Iterator[Doubt]:
    used = {name for node in routing.root.walk() for name in node.receivers}
    for receiver in routing.receivers.values():
        if receiver.name not in used:
            yield Doubt(receiver.line, f"receiver {receiver.name} is named by no route")


def _named(node: Node) -> str:
    return f"{node.path} in line {node.line}" if node.line else node.path


def _place(node: Node) -> tuple[str | int, ...]:
    """Return the place of a route from its path: `route.routes[2]` -> `("route", "routes", 2)`."""
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"\w+", node.path))


def _wide(rule: InhibitRule, place: tuple[str | int, ...]) -> Iterator[Doubt]:
    if not rule.source:
        yield Doubt(rule.line, "this inhibition has no source matchers: any alert holds back its targets", place)
    if not rule.target:
        yield Doubt(rule.line, "this inhibition has no target matchers: it holds back alerts of every kind", place)
    if not rule.equal:
        yield Doubt(
            rule.line,
            "this inhibition has no equal labels: one alert holds back its targets of every model and node; add "
            "the labels that both must share, such as equal: [model]",
            place,
        )
