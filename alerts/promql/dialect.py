r"""Forms of Prometheus 3 that the parser lacks, misreads or panics on, written as it takes them.

It knows no digit separators (`1_000`), no ranges without a leading digit (`[.5]`), no calculated durations; it panics
on times before 1970 after `@` and on durations that no clock can hold, and a panic prints a stack trace. It reads
`"\xff"` as a character and `\d` of a raw string as an escape, and compiles patterns with an engine that is not RE2: so
it gets a stand-in for each string, and for each name that it takes for a keyword. What is experimental in Prometheus 3
and unknown to the parser is refused here by its name, lest it read as a mistake.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace

from alerts.errors import ExpressionError, PatternError
from alerts.promql.durations import Impossible, QueryTimes, Unfit, calculate, calculate_offset
from alerts.promql.strings import readable, unquoted
from alerts.promql.tokens import Token, place, seconds, tokenize
from alerts.regex import compile_regex

EXPERIMENTAL_MODIFIERS = frozenset(("anchored", "smoothed"))
"""Modifiers of selectors that the parser does not know; it takes neither word for a name."""

MAX_DURATION_S = 2**63 / 1e9
"""Go counts durations in nanoseconds, in 63 bits: 292 years."""

MAX_AT_S = 1e11
"""Times after `@` are limited to +-3,000 years, as those of queries are."""

_BEFORE_1970 = 1.5e11
"""Times before 1970 are written as so many seconds, plus how long before: the parser's calendar ends at 2.5e11."""

_FIRST_STAND_IN = 0xF0000
"""Strings are characters of a private plane of Unicode, the first this one, and the next its successors: there are more
than an expression can have strings, and no word outside of strings has them."""
_STAND_IN = re.compile("([\U000f0000-\U000ffffd])_*[?]?")

INSTANT = QueryTimes()


@dataclass(frozen=True)
class Rewritten:
    """An expression as the parser takes it, and what its stand-ins stand for."""

    text: str
    strings: list[str] = field(default_factory=list)
    """Values of string literals, by the number of their stand-in."""
    literals: list[str] = field(default_factory=list)
    """The literals themselves."""
    words: dict[str, str] = field(default_factory=dict)
    """Names by the names that stand for them."""

    def meant(self, written: str) -> str:
        """Return what a string or a name of the parser's tree is in the expression."""
        match = _STAND_IN.search(written)
        return self.strings[_number(match)] if match else self.words.get(written, written)

    def with_strings(self, text: str, strings: list[str]) -> str:
        """Return a text of the parser with strings, quotes included, for their stand-ins."""
        return re.sub(f'"{_STAND_IN.pattern}"', lambda match: strings[_number(match)], text)

    def restored(self, message: str) -> str:
        """Return a message of the parser with the expression's own strings and names."""
        shown = _STAND_IN.sub(lambda match: readable(self.strings[_number(match)]), message)
        for written, word in self.words.items():
            shown = shown.replace(written, word)
        return shown


def _number(stand_in: re.Match[str]) -> int:
    return ord(stand_in[1]) - _FIRST_STAND_IN


def at_seconds(written: float) -> float:
    """Return the time that an `@` modifier says, from how `rewrite` wrote it."""
    return _BEFORE_1970 - written if written > MAX_AT_S else written


def rewrite(expr: str, times: QueryTimes = INSTANT) -> Rewritten:
    """Return an expression as the parser takes it.

    Raises ExpressionError for what is experimental or too large, for wrong escapes, patterns and calculations. An
    expression that is wrong otherwise stays wrong: this says nothing of it.
    """
    return _Rewriting(expr, times).whole()


def with_signs_as_minus(expr: str) -> str | None:
    """Return an expression with every leading `+` of an operand as `-`; None where there is none.

    The parser drops such a `+` before it looks at what it is put before; what it refuses for `-` is wrong for `+` too.
    """
    if "+" not in expr:
        return None
    tokens = tokenize(expr)
    signs = [
        token.start
        for before, token in zip([None, *tokens], tokens, strict=False)
        if token.text == "+" and (before is None or before.text in _BEFORE_AN_OPERAND)
    ]
    if not signs:
        return None
    characters = list(expr)
    for index in signs:
        characters[index] = "-"
    return "".join(characters)


_BEFORE_AN_OPERAND = ("(", ",", "+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">=", "and", "or", "unless")
_BEFORE_LABELS = ("by", "without", "on", "ignoring", "group_left", "group_right")
_BEFORE_A_NAME = ("and", "or", "unless", "atan2", "bool", "by", "without", "offset")
"""Words after which the name of a metric may come."""


class _Rewriting:
    """Goes through the tokens of an expression, and writes what the parser shall read."""

    def __init__(self, expr: str, times: QueryTimes) -> None:
        self._expr = expr
        self._times = times
        self._tokens = tokenize(expr)
        self._pieces: list[str] = []
        self._written = 0
        self._result = Rewritten("")

    def whole(self) -> Rewritten:
        number = 0
        inside = ""
        while number < len(self._tokens):
            token = self._tokens[number]
            before = self._tokens[number - 1].text.lower() if number else ""
            if token.text == "{" or (token.text == "(" and before in _BEFORE_LABELS):
                inside = token.text
            elif token.text in (")", "}"):
                inside = ""
            number = self._rewrite(number, inside)
        return replace(self._result, text="".join([*self._pieces, self._expr[self._written :]]))

    def _put(self, first: Token, last: Token, text: str) -> None:
        """Write `text` for the tokens from `first` to `last`, and what stands before them as it is."""
        self._pieces += (self._expr[self._written : first.start], text)
        self._written = last.end

    def _rewrite(self, number: int, inside: str) -> int:
        """Rewrite what begins at a token; return the number of the token behind it.

        `inside` is the bracket that opened a selector's matchers, or a list of labels.
        """
        token = self._tokens[number]
        word = token.text.lower()
        if token.kind == "string":
            self._put(token, token, self._string(number))
        elif token.text == "[":
            return self._brackets(number)
        elif word == "offset" and not inside and number:
            return self._offset(number)
        elif token.text == "@":
            return self._at(number)
        elif token.kind in ("number", "duration"):
            self._put(token, token, _digits(token))
        elif inside == "(" and token.kind == "word" and (":" in word or word in EXPERIMENTAL_MODIFIERS):
            self._put(token, token, self._name(token.text))
        elif word in EXPERIMENTAL_MODIFIERS and not inside:
            self._refuse_modifier(number)
            self._put(token, token, self._name(token.text))
        return number + 1

    def _string(self, number: int) -> str:
        """Return the stand-in of a string: empty if it is, matching nothing if it, as a pattern, does not."""
        token = self._tokens[number]
        before = self._tokens[number - 1].text if number else ""
        try:
            value = unquoted(token.text)
        except ValueError as error:
            raise _refused(self._expr, token, str(error)) from error
        matches_nothing = value == ""
        if before in ("=~", "!~"):
            try:
                matches_nothing = compile_regex(value).matches("")
            except PatternError as error:
                raise _refused(self._expr, self._tokens[number - 2], str(error)) from error
        elif matches_nothing:
            return '""'
        stand_in = chr(_FIRST_STAND_IN + len(self._result.strings))
        self._result.strings.append(value)
        self._result.literals.append(token.text)
        # As long as the literal where possible: the formatter breaks lines by their length.
        end = "?" if matches_nothing else ""
        return f'"{stand_in}{"_" * (len(token.text.encode()) - 6 - len(end))}{end}"'

    def _name(self, word: str) -> str:
        """Return a name that the parser takes instead of a keyword of its own, and that the expression has not."""
        for ending in itertools.count():
            name = f"{word.replace(':', '_')}_{ending}"
            if name not in self._expr:
                self._result.words[name] = word
                return name
        raise AssertionError

    def _brackets(self, number: int) -> int:
        """Rewrite the range, and the resolution, between brackets, if that is what is there."""
        found = []
        at = number + 1
        try:
            while self._text(at) != "]":
                duration = calculate(self._tokens, at, self._times)
                found.append((at, duration))
                at = duration.end + (self._text(duration.end) == ":" and len(found) == 1)
                if at == duration.end and self._text(at) != "]":
                    return number + 1
        except Unfit:
            return number + 1
        except Impossible as error:
            raise _refused(self._expr, self._tokens[error.index], str(error)) from error
        for start, duration in found:
            self._duration(start, duration.end, duration.seconds, positive=True)
        return at

    def _text(self, number: int) -> str:
        return self._tokens[number].text if number < len(self._tokens) else ""

    def _offset(self, number: int) -> int:
        try:
            duration = calculate_offset(self._tokens, number + 1, self._times)
        except Unfit:
            return number + 1
        except Impossible as error:
            raise _refused(self._expr, self._tokens[error.index], str(error)) from error
        self._duration(number + 1, duration.end, duration.seconds, positive=False)
        return duration.end

    def _duration(self, start: int, end: int, value: float, *, positive: bool) -> None:
        """Write a duration for the tokens from `start` to `end`."""
        first, last = self._tokens[start], self._tokens[end - 1]
        if not -MAX_DURATION_S < value < MAX_DURATION_S:  # NaN is none either
            blamed = next((t for t in self._tokens[start:end] if t.kind in ("number", "duration")), first)
            raise _refused(self._expr, blamed, "duration out of range")
        if positive and value <= 0:
            raise _refused(self._expr, first, "duration must be greater than 0")
        if last.kind in ("number", "duration") and value and (end - start == 1 or (end - start == 2 and not positive)):
            digits = _digits(last)
            self._put(last, last, "0" + digits if digits.startswith(".") else digits)
            return
        # Whole milliseconds, as Prometheus counts them. The parser takes a 0 as a number only.
        whole = int(round(value * 1e6) / 1e3)
        self._put(first, last, f"{'-' if whole < 0 else ''}{abs(whole)}ms" if whole else "0")

    def _at(self, number: int) -> int:
        """Rewrite the time after `@`, if it is a number."""
        first = number + 1
        signs = int(first < len(self._tokens) and self._tokens[first].text in ("+", "-"))
        if first + signs >= len(self._tokens) or self._tokens[first + signs].kind not in ("number", "duration"):
            return first
        token = self._tokens[first + signs]
        when = seconds(token)
        if not when <= MAX_AT_S:  # nor is NaN a time
            raise _refused(self._expr, token, f"timestamp out of bounds for @ modifier: {token.text}")
        negative = self._tokens[first].text == "-"
        self._put(self._tokens[first], token, f"{_BEFORE_1970 + when:.3f}" if negative else f"{when:.3f}")
        return first + signs + 1

    def _refuse_modifier(self, number: int) -> None:
        """Raise ExpressionError for a modifier; as names of metrics and labels such words are fine."""
        if number == 0:
            return
        token, before = self._tokens[number], self._tokens[number - 1]
        is_modifier = before.text in (")", "]", "}") or before.kind in ("number", "duration")
        if is_modifier or (before.kind == "word" and before.text.lower() not in _BEFORE_A_NAME):
            reason = f"the {token.text.lower()} modifier is experimental in Prometheus 3, and not supported"
            raise _refused(self._expr, token, reason)


def _digits(token: Token) -> str:
    if token.kind == "duration" or "_" not in token.text:
        return token.text
    return token.text.replace("_", "")


def _refused(expr: str, token: Token, reason: str) -> ExpressionError:
    return ExpressionError(f"{place(expr, token.start)}: parse error: {reason}")
