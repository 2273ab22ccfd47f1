"""Selectors that an expression reads. A recorded series is replaced by the selectors of its recording rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.rules import RecordingRule
from collectors.samples import Labels
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.metric_names import parts, selectors
from controlplane.metrics.promql.syntax.tree import Aggregate, Binary, Call, Node, String, parse
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.matchers import Matcher, MatchOp

_MAKERS = {"label_replace": 1, "label_join": 1}
"""Functions that set a label, each with the index of the argument that names it. The operator count_values also sets
one, and group_left and group_right take labels from the other side."""


@dataclass(frozen=True)
class Read:
    """One selector of series that no recording rule of this process writes."""

    matchers: tuple[Matcher, ...]
    fixed: Labels = ()
    """Labels that selectors of recorded series demand. A series of this selector has their values or lacks them."""
    made: frozenset[str] = frozenset()
    """Labels that rules and functions set between this selector and the result. Their values tell nothing about the
    series."""

    @property
    def metric(self) -> str:
        """Name of the metric, or "" when the selector names none."""
        return next((m.value for m in self.matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL), "")

    def fits(self, series: Labels, result: Labels) -> bool:
        """Return whether a series can contribute to a result: all labels that both have are equal."""
        own = dict(series)
        return all(own.get(name, value) == value for name, value in (*self.fixed, *result) if name not in self.made)

    def narrowed(self, result: Labels) -> tuple[Matcher, ...]:
        """Return matchers of the series that fit a result, for a query to another server."""
        wanted = {name: value for name, value in (*self.fixed, *result) if name not in self.made}
        return (*self.matchers, *(Matcher(name, MatchOp.RE, f"{quoted(value)}|") for name, value in wanted.items()))


def reads(expr: str, recorded: Mapping[str, Sequence[RecordingRule]]) -> tuple[Read, ...]:
    """Return the selectors that an expression reads. `recorded` has the recording rules by the metric they write.

    Raises QueryError when the expression is not valid.
    """
    return tuple(dict.fromkeys(_reads(parse(expr), recorded, Read(()), frozenset())))


def _reads(
    node: Node, recorded: Mapping[str, Sequence[RecordingRule]], way: Read, seen: frozenset[str]
) -> Iterator[Read]:
    way = Read((), way.fixed, way.made | frozenset(_made(node)))
    for selector in selectors(node):
        here = Read(selector.matchers, way.fixed, way.made)
        rules = recorded.get(here.metric, ())
        if not rules:
            yield here
        for rule in rules:
            if here.metric in seen:
                continue
            demanded = [(m.name, m.value) for m in selector.matchers if m.op is MatchOp.EQUAL and m.value]
            own = {name for name, _ in rule.labels} | set(rule.removed) | {METRIC_NAME}
            fixed = (*way.fixed, *((name, value) for name, value in demanded if name not in own))
            try:
                inner = parse(rule.expr)
            except QueryError:  # the check of the rules reports it
                continue
            yield from _reads(inner, recorded, Read((), fixed, way.made | own), seen | {here.metric})


def _made(node: Any) -> Iterator[str]:
    label: Node | None = None
    if isinstance(node, Binary) and node.matching is not None:
        yield from node.matching.include
    if isinstance(node, Call) and node.name in _MAKERS:
        label = node.args[_MAKERS[node.name]]
    elif isinstance(node, Aggregate) and node.op == "count_values":
        label = node.param
    if isinstance(label, String):
        yield label.value
    for part in parts(node):
        yield from _made(part)


def quoted(value: str) -> str:
    """Return a value quoted as a pattern of RE2. RE2 accepts fewer escapes than Python's `re.escape` writes."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$" else c for c in value)
