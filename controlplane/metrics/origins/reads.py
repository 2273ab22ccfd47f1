"""What an expression reads: its selectors, with recorded series followed to those that they are recorded from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.rules import RecordingRule
from collectors.samples import Labels
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.metric_names import parts, selectors
from controlplane.metrics.promql.syntax.tree import Aggregate, Call, Node, String, parse
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.matchers import Matcher, MatchOp

_MAKERS = {"label_replace": 1, "label_join": 1}
"""Functions that make a label, and which argument names it; count_values does so too."""


@dataclass(frozen=True)
class Read:
    """One selector of series that nobody here records."""

    matchers: tuple[Matcher, ...]
    fixed: Labels = ()
    """What selectors of recorded series demand on the way to it: a series has these values, or lacks the label."""
    made: frozenset[str] = frozenset()
    """Labels that are made on the way, which say nothing of the series."""

    @property
    def metric(self) -> str:
        """The metric's name; empty when the selector does not say one."""
        return next((m.value for m in self.matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL), "")

    def fits(self, series: Labels, result: Labels) -> bool:
        """Tell whether a series can have a part in a result: no label that both have differs."""
        own = dict(series)
        return all(own.get(name, value) == value for name, value in (*self.fixed, *result) if name not in self.made)

    def narrowed(self, result: Labels) -> tuple[Matcher, ...]:
        """Return matchers for the series that fit a result, for a server that is asked for them."""
        wanted = {name: value for name, value in (*self.fixed, *result) if name not in self.made}
        return (*self.matchers, *(Matcher(name, MatchOp.RE, f"{quoted(value)}|") for name, value in wanted.items()))


def reads(expr: str, recorded: Mapping[str, Sequence[RecordingRule]]) -> tuple[Read, ...]:
    """Return what an expression reads; `recorded` has the recording rules by what they record. Raises QueryError."""
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
            except QueryError:  # said by the check of the rules
                continue
            yield from _reads(inner, recorded, Read((), fixed, way.made | own), seen | {here.metric})


def _made(node: Any) -> Iterator[str]:
    label: Node | None = None
    if isinstance(node, Call) and node.name in _MAKERS:
        label = node.args[_MAKERS[node.name]]
    elif isinstance(node, Aggregate) and node.op == "count_values":
        label = node.param
    if isinstance(label, String):
        yield label.value
    for part in parts(node):
        yield from _made(part)


def quoted(value: str) -> str:
    """Quote a value for RE2, which knows fewer escapes than Python's `re.escape` makes."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$" else c for c in value)
