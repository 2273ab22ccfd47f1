"""Finds how far back rules look. After a start, an empty result proves nothing until that much time is covered."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from alerts.rules import AlertingRule, RecordingRule, RuleGroup
from promql.durations import INSTANT, Impossible, Unfit, calculate
from promql.limits import without_strings
from promql.tokens import tokenize

MAX_S = 15 * 60.0
"""Upper bound of a lookback, in seconds (chosen). A rule over days would otherwise keep yesterday's alert for days."""

_CACHED_EXPRESSIONS, _CACHED_LENGTH = 4096, 10_000
"""Number of expressions that a reload does not read again, and the length in characters of the longest of them."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_INFO = re.compile(r"[_:]info$")


class _Recorded(NamedTuple):
    expr: str
    group: str
    interval_s: float


def lookbacks(groups: Sequence[RuleGroup], interval_s: float = 0.0) -> dict[str, float]:
    """Return each alerting rule's lookback in seconds, by rule id: its longest range, at most MAX_S.

    The lookbacks of the recorded series that it reads count too. A series recorded by another group adds that group's
    interval (`interval_s` when the group has none). Ranges with an offset do not count: they cover an earlier time.
    Neither do those of recorded info series (`gpu:node:info`): these keep names for a time, and have them from their
    first sample on.
    """
    recorded: dict[str, list[_Recorded]] = {}
    for group in groups:
        for rule in group.rules:
            if isinstance(rule, RecordingRule) and not _INFO.search(rule.record):
                made = _Recorded(without_strings(rule.expr), group.key, group.interval_s or interval_s)
                recorded.setdefault(rule.record, []).append(made)
    return {
        rule.id: min(MAX_S, _lookback(without_strings(rule.expr), group.key, recorded, frozenset()))
        for group in groups
        for rule in group.rules
        if isinstance(rule, AlertingRule)
    }


def _lookback(expr: str, group: str, recorded: Mapping[str, list[_Recorded]], seen: frozenset[str]) -> float:
    longest = _longest(expr) if len(expr) <= _CACHED_LENGTH else _longest.__wrapped__(expr)
    read = {name for name in _NAME.findall(expr) if name in recorded} - seen
    for made in (made for name in read for made in recorded[name]):
        wait_s = 0.0 if made.group == group else made.interval_s
        longest = max(longest, wait_s + _lookback(made.expr, made.group, recorded, seen | read))
    return longest


@lru_cache(maxsize=_CACHED_EXPRESSIONS)
def _longest(expr: str) -> float:
    return max(_ranges(expr), default=0.0)


def _ranges(expr: str) -> Iterator[float]:
    """Yield the ranges in brackets, in seconds, except those with an offset."""
    tokens = tokenize(expr)
    for number, token in enumerate(tokens):
        if token.text == "[":
            after = next((n for n in range(number, len(tokens)) if tokens[n].text == "]"), len(tokens)) + 1
            if after >= len(tokens) or tokens[after].text.lower() != "offset":
                with contextlib.suppress(Unfit, Impossible):
                    yield calculate(tokens, number + 1, INSTANT).seconds
