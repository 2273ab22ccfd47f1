"""Matchers of labels, in both spellings of Alertmanager: `severity=~"critical|warning"`, and names in quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from alerts.errors import MatcherError
from promql.errors import PatternError
from promql.regex import Regex, compile_regex


class Op(StrEnum):
    """Comparison of a label's value. Regular expressions match the whole value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True)
class Matcher:
    """A condition on one label. A missing label has the value ""."""

    name: str
    op: Op
    value: str

    def __post_init__(self) -> None:
        """Check the regular expression. Raises MatcherError."""
        if self.op in (Op.MATCHES, Op.MATCHES_NOT):
            try:
                compile_regex(self.value)
            except PatternError as error:
                raise MatcherError(f"{self}: {error}") from error

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the condition holds."""
        value = labels.get(self.name, "")
        match self.op:
            case Op.EQUAL:
                return value == self.value
            case Op.NOT_EQUAL:
                return value != self.value
            case Op.MATCHES:
                return self._regex.matches(value)
            case Op.MATCHES_NOT:
                return not self._regex.matches(value)

    @property
    def names_a_value(self) -> bool:
        """Whether only alerts that have the label, with exactly this value, match."""
        return self.op is Op.EQUAL and self.value != ""

    @cached_property
    def _regex(self) -> Regex:
        return compile_regex(self.value)

    def __str__(self) -> str:
        """Return the matcher as Alertmanager prints it."""
        name = self.name if _NAME.fullmatch(self.name) else _quoted(self.name)
        return f"{name}{self.op.value}{_quoted(self.value)}"


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether every matcher matches. No matchers match everything."""
    return all(matcher.matches(labels) for matcher in matchers)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Parse one or more matchers: `a="b"`, `a=b,c=~d.*`, `{a!=b, "quoted name"=c}`. Raises MatcherError."""
    return _parsed(_Scan(text, _OPS, "one of =, !=, =~ and !~"))


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Parse the labels of an alert, written as matchers are: `a=b, c="d"`. Raises MatcherError, also for `a!=b`."""
    return tuple((one.name, one.value) for one in _parsed(_Scan(text, _EQUAL, "= and a value")))


def _parsed(scan: _Scan) -> tuple[Matcher, ...]:
    braces = scan.take("{")
    found: list[Matcher] = []
    while not scan.at_end and not (braces and scan.peek("}")):
        if found:
            scan.need(",", "a comma between two matchers")
            if scan.at_end or (braces and scan.peek("}")):
                break
        found.append(scan.matcher(braces=braces))
    if braces:
        scan.need("}", "a closing brace")
    if not scan.at_end:
        raise scan.error("nothing after the closing brace")
    return tuple(found)


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_BARE_NAME = re.compile(r"""[^\s{}!=~,\\"'`]+""")
"""A name without quotes: Alertmanager's parser for UTF-8 reserves these characters only."""
_OPS, _EQUAL = re.compile(r"=~|!~|!=|="), re.compile(r"=(?!~)")
_ESCAPED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\", "t": "\t", "r": "\r"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class _Scan:
    """Reads a text of matchers from left to right."""

    def __init__(self, text: str, ops: re.Pattern[str], which: str) -> None:
        """`ops` are the comparisons that may stand there; `which`: their names in an error."""
        self._text, self._at, self._ops, self._which = text, 0, ops, which
        self._skip()

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    def peek(self, word: str) -> bool:
        return self._text.startswith(word, self._at)

    def take(self, word: str) -> bool:
        if not self.peek(word):
            return False
        self._at += len(word)
        self._skip()
        return True

    def need(self, word: str, what: str) -> None:
        if not self.take(word):
            raise self.error(what)

    def error(self, expected: str) -> MatcherError:
        rest = self._text[self._at :]
        return MatcherError(f"{self._text!r}: expected {expected}, got {rest[:20]!r}" if rest else
                            f"{self._text!r}: expected {expected} at the end")  # fmt: skip

    def matcher(self, *, braces: bool) -> Matcher:
        """Read `name op value`. A value without quotes ends at a comma, and in braces at the closing one."""
        name = self._string() if self.peek('"') else self._found(_BARE_NAME, "the name of a label")
        op = Op(self._found(self._ops, self._which))
        if self.peek('"'):
            return Matcher(name, op, self._string())
        end = self._at
        while end < len(self._text) and self._text[end] != "," and not (braces and self._text[end] == "}"):
            if self._text[end] == '"':
                raise self.error("a value without quotes, or one in quotes as a whole")
            end += 1
        value = self._text[self._at : end].strip()
        self._at = end
        return Matcher(name, op, value)

    def _found(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            raise self.error(what)
        self._at = found.end()
        self._skip()
        return found[0]

    def _string(self) -> str:
        found = _ESCAPED.match(self._text, self._at)
        if not found:
            raise self.error("a closing quote")
        self._at = found.end()
        self._skip()
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), found[1], flags=re.DOTALL)

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
