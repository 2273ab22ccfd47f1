"""Duration expressions such as `[5m * 2]` and `offset (step() + 1m)`, as in Prometheus since 3.14.

Their values depend on the query's step and range alone, so the parser calculates them from the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from promql.tokens import Token, seconds

MAX_DEPTH = 100
"""Deepest nesting of brackets, signs and powers in one duration."""

_OF_TWO = ("min_of", "max_of")
_OF_THE_QUERY = ("step", "range")


class QueryTimes(NamedTuple):
    """Values of `step()` and `range()` in seconds. Both are 0 in an instant query."""

    step_s: float = 0.0
    range_s: float = 0.0


INSTANT = QueryTimes()


class Unfit(Exception):
    """The tokens are not a duration. `index` is the first token that does not fit."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Impossible(Exception):
    """A duration cannot be calculated, for example after a division by zero. `index` is the token at fault."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class Duration(NamedTuple):
    """A calculated duration: its seconds, and the index of the first token after it."""

    seconds: float
    end: int


def calculate(tokens: Sequence[Token], start: int, times: QueryTimes) -> Duration:
    """Calculate the duration in brackets, from the token at index `start`.

    Raises Unfit when the tokens are not a duration, and Impossible when it cannot be calculated.
    """
    walk = _Walk(tokens, start, times)
    return Duration(walk.sum(0), walk.next)


def calculate_offset(tokens: Sequence[Token], start: int, times: QueryTimes) -> Duration:
    """Calculate the duration after `offset`, from the token at index `start`.

    `offset 1m + 1` adds 1 to the vector. After parentheses, `offset (1m) + 1` adds 1 to the offset.
    Raises Unfit when the tokens are not a duration, and Impossible when it cannot be calculated.
    """
    walk = _Walk(tokens, start, times)
    sign = walk.sign()
    following = tokens[walk.next] if walk.next < len(tokens) else None
    if following is not None and following.text in ("(", "+", "-"):
        walk.next = start
        return Duration(walk.sum(0), walk.next)
    return Duration(sign * walk.operand(0), walk.next)


def of_durations(tokens: Sequence[Token]) -> frozenset[int]:
    """Return the indexes of all tokens that belong to a duration. Inside a duration `step()` is not a function call."""
    found: set[int] = set()
    for number, token in enumerate(tokens):
        if number in found or not (token.text in ("[", ":") or token.text.lower() == "offset"):
            continue
        walk = calculate_offset if token.text.lower() == "offset" else calculate
        try:
            found.update(range(number + 1, walk(tokens, number + 1, QueryTimes()).end))
        except (Unfit, Impossible):
            continue
    return frozenset(found)


def is_calculated(tokens: Sequence[Token]) -> bool:
    """Return whether the tokens contain a duration expression: `[5m * 2]` yes, `[5m]` and `offset -5m` no."""
    return any(
        tokens[number].kind not in ("number", "duration")
        and not (tokens[number].text in ("+", "-") and tokens[number - 1].text.lower() == "offset")
        for number in of_durations(tokens)
    )


class _Walk:
    """Evaluates the tokens of a duration by recursive descent. `next` is the index of the next token to read.

    Every method that reads tokens returns seconds, but for `sign`. It raises Unfit and Impossible.
    """

    def __init__(self, tokens: Sequence[Token], start: int, times: QueryTimes) -> None:
        self._tokens = tokens
        self._times = times
        self.next = start

    def _text(self) -> str:
        return self._tokens[self.next].text.lower() if self.next < len(self._tokens) else ""

    def _need(self, text: str) -> None:
        if self._text() != text:
            raise Unfit(self.next)
        self.next += 1

    def sum(self, depth: int) -> float:
        if depth > MAX_DEPTH:
            raise Impossible(self.next - 1, "the duration is nested too deeply")
        total = self._product(depth)
        while (operator := self._text()) in ("+", "-"):
            self.next += 1
            term = self._product(depth)
            total += term if operator == "+" else -term
        return total

    def _product(self, depth: int) -> float:
        product = self._signed(depth)
        while (operator := self._text()) in ("*", "/", "%"):
            place = self.next
            self.next += 1
            factor = self._signed(depth)
            if operator == "*":
                product *= factor
            elif factor == 0:
                raise Impossible(place, "division by zero" if operator == "/" else "modulo by zero")
            elif operator == "/":
                product /= factor
            else:
                product = math.fmod(product, factor) if math.isfinite(product) else math.nan
        return product

    def sign(self) -> int:
        """Read a sign, if there is one. Return -1 for `-`, else 1."""
        text = self._text()
        self.next += text in ("+", "-")
        return -1 if text == "-" else 1

    def _signed(self, depth: int) -> float:
        """Read a power with the signs before it. Signs bind less than `^`: `-2 ^ 2` → -4."""
        sign = 1
        while self._text() in ("+", "-"):
            sign *= self.sign()
        base = self.operand(depth)
        if self._text() != "^":
            return sign * base
        place = self.next
        self.next += 1
        if depth > MAX_DEPTH:
            raise Impossible(place, "the duration is nested too deeply")
        try:
            power = math.pow(base, self._signed(depth + 1))
        except (OverflowError, ValueError) as error:
            raise Impossible(place, "duration is out of range") from error
        return sign * power

    def operand(self, depth: int) -> float:
        """Read a number, a duration, a call, or an expression in parentheses. Raises Unfit at any other token."""
        if self.next >= len(self._tokens):
            raise Unfit(self.next)
        token, word = self._tokens[self.next], self._text()
        if token.kind not in ("number", "duration") and word not in ("(", *_OF_TWO, *_OF_THE_QUERY):
            raise Unfit(self.next)
        self.next += 1
        if token.kind in ("number", "duration"):
            return seconds(token)
        if word == "(":
            inside = self.sum(depth + 1)
            self._need(")")
            return inside
        self._need("(")
        if word in _OF_THE_QUERY:
            self._need(")")
            return self._times.step_s if word == "step" else self._times.range_s
        first = self.sum(depth + 1)
        self._need(",")
        second = self.sum(depth + 1)
        self._need(")")
        return min(first, second) if word == "min_of" else max(first, second)
