"""Label matchers: `=`, `!=`, `=~`, `!~`, fully anchored. Patterns are RE2's (`promql.regex`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from controlplane.errors import QueryError
from promql import regex
from promql.errors import PatternError

_LITERALS = re.compile(r"[A-Za-z0-9_:/ -]*(\|[A-Za-z0-9_:/ -]*)*", re.ASCII)


class MatchOp(StrEnum):
    """Operator of a matcher."""

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
        """Whether a label value ("" when absent) satisfies this. Raises QueryError when the pattern is not valid."""
        if self.op is MatchOp.EQUAL:
            return value == self.value
        if self.op is MatchOp.NOT_EQUAL:
            return value != self.value
        return compile_regex(self.value).matches(value) == (self.op is MatchOp.RE)

    def matching(self, values: Iterable[str]) -> frozenset[str]:
        """Return the values that satisfy this. Raises QueryError when the pattern is not valid."""
        if self.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
            return frozenset(value for value in values if self.matches(value))
        given = frozenset(values)
        found = compile_regex(self.value).matching(given)
        return found if self.op is MatchOp.RE else given - found

    def alternatives(self) -> frozenset[str] | None:
        """Return the values that this matcher lists: `=~"a|b"` → {a, b}. None if a regex must run to find them."""
        if self.op is MatchOp.EQUAL:
            return frozenset((self.value,))
        if self.op is MatchOp.RE and _LITERALS.fullmatch(self.value):
            return frozenset(self.value.split("|"))
        return None

    def __str__(self) -> str:
        return f'{self.name}{self.op}"{self.value}"'


def compile_regex(pattern: str) -> regex.Regex:
    """Return a compiled pattern. Raises QueryError(bad_data), in Prometheus's words, when it is not valid."""
    try:
        return regex.compile_regex(pattern)
    except PatternError as error:
        raise QueryError("bad_data", str(error)) from error
