"""Doubts about a valid routing: routes that get no alert, and inhibitions that reach too far. Pure."""

from __future__ import annotations

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


def doubts(routing: Routing) -> list[Doubt]:
    """Return the doubts, in the order of their lines."""
    found = [*_unreachable(routing.root, ()), *_unused(routing)]
    for rule in routing.inhibit_rules:
        found += _wide(rule)
    return sorted(found, key=lambda doubt: doubt.line)


def _unreachable(node: Node, above: Sequence[Matcher]) -> Iterator[Doubt]:
    """Yield a doubt for each route below `node` that no alert reaches. `above` are the matchers of its parents."""
    here = (*above, *node.matchers)
    for number, route in enumerate(node.routes):
        every = (*here, *route.matchers)
        if pair := _contradiction(every):
            yield Doubt(route.line, f"{route.path} gets no alert: none has both {pair[0]} and {pair[1]}")
            continue
        taken = next((r for r in node.routes[:number] if not r.goes_on and _implies(every, r.matchers)), None)
        if taken is not None:
            yield Doubt(
                route.line,
                f"{route.path} gets no alert: {taken.path} in line {taken.line} takes each before it; set continue: "
                "true there, or move this route before it",
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
    used = {node.receiver for node in routing.root.walk()}
    for receiver in routing.receivers.values():
        if receiver.name not in used:
            yield Doubt(receiver.line, f"receiver {receiver.name} is named by no route")


def _wide(rule: InhibitRule) -> Iterator[Doubt]:
    if not rule.source:
        yield Doubt(rule.line, "this inhibition has no source matchers: any alert holds back its targets")
    if not rule.target:
        yield Doubt(rule.line, "this inhibition has no target matchers: it holds back alerts of every kind")
    if not rule.equal:
        yield Doubt(
            rule.line,
            "this inhibition has no equal labels: one alert holds back its targets of every model and node; add "
            "the labels that both must share, such as equal: [model]",
        )
