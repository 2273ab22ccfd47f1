"""Parts of a test's rules: those of one part take turns at each time, and the parts run one after the other.

A query at many times at once costs little more than at one. A rule can be asked so as soon as the store has every
sample that it will ever read: all input series, and the series of all rules before it. That is not so for a rule that
reads its own series, or those of a rule that is evaluated after it. It sees what they were one evaluation ago.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

from alerts.rules import RecordingRule, Rule, RuleGroup
from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.tree import Selector, Subquery, metric_name, nested, parse
from controlplane.metrics.series.index import METRIC_NAME

ALERT_SERIES = ("ALERTS", "ALERTS_FOR_STATE")


@dataclass(frozen=True)
class Part:
    """Rules that take turns, each in a group of its own, in the order of evaluation."""

    groups: tuple[RuleGroup, ...]
    ahead: bool
    """Whether the query of its one rule may be asked for all times at once."""
    last: int
    """Number of its last rule, over all parts."""


class Parts:
    """All rules of a test, in the order of evaluation."""

    def __init__(self, groups: Sequence[RuleGroup]) -> None:
        """Make parts that are as small as can be."""
        self._reads: dict[str, int | None] = {}
        self._single = [replace(group, rules=(rule,)) for group in groups for rule in group.rules]
        self._writers = _Writers([group.rules[0] for group in self._single])
        reads = [self._last_read(group.rules[0].expr) for group in self._single]
        # An offset moves the samples that a rule writes, and not the queries of its templates.
        self.in_time = None in reads or any(group.query_offset_s for group in groups)
        """Whether the rules are one part, and a sample must not be in the store before its time."""
        last = [max(r, self._writers.last_with(n)) for n, r in enumerate(reads) if r is not None]
        self.parts = self._whole() if self.in_time or not reads else tuple(_joined(self._single, last))

    def in_turn(self) -> Parts:
        """Return all rules as one part, in time. It suits every rule."""
        other = copy(self)
        other.in_time, other.parts = True, self._whole()
        return other

    def _whole(self) -> tuple[Part, ...]:
        return (Part(tuple(self._single), ahead=False, last=len(self._single) - 1),)

    def suits(self, part: Part, expr: str) -> bool:
        """Return whether a template of a part's rules may ask a query. Its result must not depend on later parts."""
        if self.in_time:
            return True
        last = self._last_read(expr)
        return last is not None and last <= part.last

    def _last_read(self, expr: str) -> int | None:
        """Return the number of the last rule whose series an expression may read, -1 if it reads none.

        None: it may read samples that are later than its time, or those of the query's start or end.
        """
        if expr not in self._reads:
            self._reads[expr] = self._find_last_read(expr)
        return self._reads[expr]

    def _find_last_read(self, expr: str) -> int | None:
        try:
            tree = list(nested(parse(expr)))
        except QueryError:
            return -1  # the evaluation fails and reads nothing
        if any(isinstance(n, Selector | Subquery) and (n.offset_ms < 0 or n.at is not None) for n in tree):
            return None
        return max((self._writers.last_of(node) for node in tree if isinstance(node, Selector)), default=-1)


def _joined(single: Sequence[RuleGroup], last: Sequence[int]) -> Iterator[Part]:
    """Yield the parts. `last` has, for each rule, the number of the last rule that must be with it, or -1."""
    start = 0
    while start < len(single):
        end, number = start, start
        while number <= end:
            end, number = max(end, last[number]), number + 1
        yield Part(tuple(single[start : end + 1]), ahead=end == start and last[start] < start, last=end)
        start = end + 1


class _Writers:
    """The series that rules write, as far as the rules' texts tell."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._fixed = [_fixed_labels(rule) for rule in rules]
        self._by_name: dict[str, list[int]] = defaultdict(list)
        for number, rule in enumerate(rules):
            for name in _names(rule):
                self._by_name[name].append(number)

    def last_of(self, selector: Selector) -> int:
        """Return the number of the last rule that may write a series of a selector, or -1 if none does."""
        named = metric_name(selector)
        names = self._by_name if named is None else [named]
        found = (n for name in names for n in self._by_name.get(name, ()) if self._may(n, name, selector))
        return max(found, default=-1)

    def last_with(self, number: int) -> int:
        """Return the number of the last rule that may write a series that a rule writes, -1 if no other rule does.

        The store keeps one of two samples of the same time. Which one depends on the order of the rules' first rows.
        """
        mine = self._fixed[number]
        found = (
            n
            for name in _names(self._rules[number])
            for n in self._by_name[name]
            if n != number and all(self._fixed[n].get(label, value) == value for label, value in mine.items())
        )
        return max(found, default=-1)

    def _may(self, number: int, name: str, selector: Selector) -> bool:
        labels = {**self._fixed[number], METRIC_NAME: name}
        try:
            return all(matcher.matches(labels[matcher.name]) for matcher in selector.matchers if matcher.name in labels)
        except QueryError:
            return True  # the pattern is wrong, which the evaluation tells


def _names(rule: Rule) -> tuple[str, ...]:
    return (rule.record,) if isinstance(rule, RecordingRule) else ALERT_SERIES


def _fixed_labels(rule: Rule) -> Mapping[str, str]:
    """Return labels that each series of a rule has with these values. An empty value says that it has no such label."""
    if isinstance(rule, RecordingRule):
        return {**dict(rule.labels), **dict.fromkeys(rule.removed, "")}
    labels = {name: template.text for name, template in rule.labels if template.is_plain and name != "alertstate"}
    return {**labels, "alertname": rule.alert}
