"""Label matchers: `=`, `!=`, `=~`, `!~`, fully anchored.

PromQL promises RE2, whose time is linear in its input. Python's `re` backtracks, so patterns that RE2 has not, and
nested repetitions, are refused with a reason, and other costly ones run as an automaton (see linear_regex).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from controlplane.errors import QueryError
from controlplane.metrics.linear_regex import Regex

MAX_PATTERN = 4096
"""Longest regular expression taken, in characters."""

_LITERALS = re.compile(r"[A-Za-z0-9_:/ -]*(\|[A-Za-z0-9_:/ -]*)*", re.ASCII)
_NOT_RE2 = re.compile(r"\\[1-9]|\(\?(?:=|!|<=|<!|P=|\(|>|#)|[*+?}]\+")
"""Back references, look-around, conditionals, atomic groups, comments and possessive quantifiers."""


class MatchOp(StrEnum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    RE = "=~"
    NOT_RE = "!~"


@dataclass(frozen=True)
class Matcher:
    """One condition on one label. An absent label has the value `""`, as in Prometheus."""

    name: str
    op: MatchOp
    value: str

    def matches(self, value: str) -> bool:
        """Whether a label value (empty when absent) satisfies this. Raises QueryError for a refused pattern."""
        if self.op is MatchOp.EQUAL:
            return value == self.value
        if self.op is MatchOp.NOT_EQUAL:
            return value != self.value
        return compile_regex(self.value).matches(value) == (self.op is MatchOp.RE)

    def alternatives(self) -> frozenset[str] | None:
        """Return the values that this names outright (`a|b`), so that no regex needs to run; None if it does not."""
        if self.op is MatchOp.EQUAL:
            return frozenset((self.value,))
        if self.op is MatchOp.RE and _LITERALS.fullmatch(self.value):
            return frozenset(self.value.split("|"))
        return None

    def __str__(self) -> str:
        return f'{self.name}{self.op}"{self.value}"'


@lru_cache(maxsize=1024)
def compile_regex(pattern: str) -> Regex:
    """Compile an RE2-like pattern.

    Raises QueryError(bad_data) for a pattern that is too long, malformed, not RE2, or prone to exponential time.
    """
    if len(pattern) > MAX_PATTERN:
        raise QueryError("bad_data", f"regular expression has {len(pattern)} characters, {MAX_PATTERN} are allowed")
    shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
    if _NOT_RE2.search(pattern):
        raise QueryError("bad_data", f"regular expression {shown!r} uses syntax that RE2 does not have")
    if _repeats_ambiguously(pattern):
        raise QueryError(
            "bad_data",
            f"regular expression {shown!r} repeats a group that itself repeats or branches, which can take "
            "exponential time here; write it without the outer repetition",
        )
    try:
        return Regex(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise QueryError("bad_data", f"error parsing regular expression {shown!r}: {error}") from error


def _repeats_ambiguously(pattern: str) -> bool:
    """Whether a group that holds a repetition or a branch is itself repeated: `(a+)+`, `(a|aa)*`."""
    stack: list[bool] = [False]
    at, size = 0, len(pattern)
    closed: bool | None = None
    while at < size:
        char = pattern[at]
        repeated = char in "*+" or (char == "{" and at + 1 < size and pattern[at + 1].isdigit())
        if repeated:
            if closed:
                return True
            stack[-1] = True
        closed = None
        if char == "\\":
            at += 1
        elif char == "[":
            at = _class_end(pattern, at)
        elif char == "|":
            stack[-1] = True
        elif char == "(":
            stack.append(False)
        elif char == ")" and len(stack) > 1:
            closed = stack.pop()
            stack[-1] = stack[-1] or closed
        at += 1
    return False


def _class_end(pattern: str, start: int) -> int:
    """Return the index of the `]` that closes the character class at `start`, or the last index."""
    at = start + 1
    if at < len(pattern) and pattern[at] == "^":
        at += 1
    if at < len(pattern) and pattern[at] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return min(at, len(pattern) - 1)
