"""How far back rules look: after a start, a rule whose past is not there yet proves nothing by finding nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

from alerts.expression import without_strings
from alerts.promql.dialect import INSTANT
from alerts.promql.durations import Impossible, Unfit, calculate
from alerts.promql.tokens import tokenize
from alerts.rules import AlertingRule, RecordingRule, RuleGroup

MAX_S = 15 * 60.0
"""No rule is waited for longer: one that looks back for days would keep an alert of yesterday for days."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def lookbacks(groups: Iterable[RuleGroup]) -> dict[str, float]:
    """Return seconds by alerting rule's id: its longest range, and those of the recorded series that it reads.

    Ranges with an offset are left out: they look at another time, not at the time since the start. At most MAX_S.
    """
    rules = [rule for group in groups for rule in group.rules]
    recorded: dict[str, list[str]] = {}
    for rule in rules:
        if isinstance(rule, RecordingRule):
            recorded.setdefault(rule.record, []).append(without_strings(rule.expr))
    return {
        rule.id: min(MAX_S, _lookback(without_strings(rule.expr), recorded, frozenset()))
        for rule in rules
        if isinstance(rule, AlertingRule)
    }


def _lookback(expr: str, recorded: Mapping[str, list[str]], seen: frozenset[str]) -> float:
    own = max(_ranges(expr), default=0.0)
    read = {name for name in _NAME.findall(expr) if name in recorded} - seen
    return max([own, *(_lookback(e, recorded, seen | read) for name in read for e in recorded[name])])


def _ranges(expr: str) -> Iterator[float]:
    """Yield the ranges in brackets, in seconds, but those that an offset moves."""
    tokens = tokenize(expr)
    for number, token in enumerate(tokens):
        if token.text == "[":
            after = next((n for n in range(number, len(tokens)) if tokens[n].text == "]"), len(tokens)) + 1
            if after >= len(tokens) or tokens[after].text.lower() != "offset":
                with contextlib.suppress(Unfit, Impossible):
                    yield calculate(tokens, number + 1, INSTANT).seconds
