"""Forms of Prometheus 3 that the parser lacks or panics on, written as it takes them.

It knows no digit separators (`1_000`) and no ranges without a leading digit (`[.5]`); it panics on times before 1970
after `@` and on durations that no clock can hold, and a panic prints a stack trace. What is experimental in Prometheus
3 and unknown to the parser is refused here by its name, lest it read as a mistake.
"""

from __future__ import annotations

import itertools
import re

from alerts.errors import ExpressionError
from alerts.promql.tokens import Token, place, seconds, tokenize

EXPERIMENTAL_MODIFIERS = frozenset(("anchored", "smoothed"))
"""Modifiers of selectors that the parser does not know."""

MAX_DURATION_S = 2**63 / 1e9
"""Go counts durations in nanoseconds, in 63 bits: 292 years."""

MAX_AT_S = 1e11
"""Times after `@` are limited to +-3,000 years, as those of queries are."""

_BEFORE_1970 = 1.5e11
"""Times before 1970 are written as so many seconds, plus how long before: the parser's calendar ends at 2.5e11."""


def at_seconds(written: float) -> float:
    """Return the time that an `@` modifier says, from how `rewritten` wrote it."""
    return _BEFORE_1970 - written if written > MAX_AT_S else written


def rewritten(expr: str) -> str:
    """Return an expression as the parser takes it. Raises ExpressionError for what is experimental or too large.

    An expression that is wrong otherwise stays wrong: this says nothing of it.
    """
    tokens = tokenize(expr)
    pieces: list[str] = []
    written = 0
    for number, token in enumerate(tokens):
        if token.kind in ("number", "duration"):
            signs = 1 if number and tokens[number - 1].text in ("+", "-") else 0
            opener = tokens[number - signs - 1].text.lower() if number > signs else ""
            if opener == "@":
                first = tokens[number - signs]
                pieces += (expr[written : first.start], _time(expr, token, negative=first.text == "-"))
                written = token.end
                continue
            # The parser refuses Inf and NaN in brackets, and panics on them after offset.
            is_duration = opener == "offset" or (opener in ("[", ":") and not token.text.isalpha())
            text = _duration(expr, token) if is_duration else _digits(token)
            pieces += (expr[written : token.start], text)
            written = token.end
        else:
            _refuse_experimental(expr, tokens, number)
    return "".join([*pieces, expr[written:]])


def with_signs_as_minus(expr: str) -> str | None:
    """Return an expression with every leading `+` of an operand as `-`; None where there is none.

    The parser drops such a `+` before it looks at what it is put before; what it refuses for `-` is wrong for `+` too.
    """
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


def _digits(token: Token) -> str:
    if token.kind == "duration" or "_" not in token.text:
        return token.text
    return token.text.replace("_", "")


def _duration(expr: str, token: Token) -> str:
    if not seconds(token) < MAX_DURATION_S:  # NaN is none either
        raise _refused(expr, token, "duration out of range")
    digits = _digits(token)
    return "0" + digits if digits.startswith(".") else digits


def _time(expr: str, token: Token, *, negative: bool) -> str:
    when = seconds(token)
    if not when <= MAX_AT_S:  # nor is NaN a time
        raise _refused(expr, token, f"timestamp out of bounds for @ modifier: {token.text}")
    return f"{_BEFORE_1970 + when:.3f}" if negative else f"{when:.3f}"


def _refuse_experimental(expr: str, tokens: list[Token], number: int) -> None:
    """Raise ExpressionError for a modifier or a calculated duration; as names of metrics such words are fine."""
    token = tokens[number]
    if token.text == "[" and _is_calculated(tokens[number + 1 :]):
        reason = "calculated durations are experimental in Prometheus 3, and not supported"
        raise _refused(expr, tokens[number + 1], reason)
    word = token.text.lower()
    if word not in EXPERIMENTAL_MODIFIERS or number == 0:
        return
    before = tokens[number - 1]
    is_modifier = before.text in (")", "]", "}") or before.kind in ("number", "duration")
    if is_modifier or (before.kind == "word" and before.text.lower() not in _BEFORE_A_NAME):
        raise _refused(expr, token, f"the {word} modifier is experimental in Prometheus 3, and not supported")


def _is_calculated(tokens: list[Token]) -> bool:
    """Whether what follows an opening bracket is a calculation of a range, and perhaps of a resolution."""
    inside = list(itertools.takewhile(lambda token: token.text != "]", tokens))
    if len(inside) == len(tokens) or len(inside) > MAX_CALCULATION:
        return False
    shape = "".join(_SHAPES.get(token.text, "n" if token.kind in ("number", "duration") else "?") for token in inside)
    if shape in ("n", "n:", "n:n"):
        return False
    before = ""
    while shape != before:
        before, shape = shape, _REDUCIBLE.sub("n", shape)
    return shape in ("n", "n:", "n:n")


MAX_CALCULATION = 64
"""Words of a calculated duration that are looked at."""
_SHAPES = {sign: sign for sign in "+-(),:"} | dict.fromkeys("*/%^", "*") | dict.fromkeys(("step", "range"), "f")
_SHAPES |= dict.fromkeys(("min", "max"), "g")
_REDUCIBLE = re.compile(r"f\(\)|g\(n,n\)|\(n\)|n[-+*]n|(?<![n)])[-+]n")
"""Calculations that are a duration again: calls of step, range, min and max, brackets, operators, signs."""
_BEFORE_A_NAME = ("and", "or", "unless", "atan2", "bool", "by", "without", "offset")
"""Words after which the name of a metric may come."""


def _refused(expr: str, token: Token, reason: str) -> ExpressionError:
    return ExpressionError(f"{place(expr, token.start)}: parse error: {reason}")
