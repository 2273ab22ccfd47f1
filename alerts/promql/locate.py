"""Where in an expression an error of the parser is, which does not say: found by asking it about the parts.

A place is named only where it is certain; elsewhere nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from alerts.promql.grammar import Part, Unexpected, parts
from alerts.promql.tokens import tokenize

MAX_QUESTIONS = 300
"""Parts that the parser is asked about for one error."""

Complaint = Callable[[str], str | None]
"""Parses an expression; returns what is wrong with it, None where nothing is."""

_ARGUMENT_TYPE = re.compile(r"expected type (\w+) in call to function '(\w+)', got (\w+)")
_AGGREGATE_TYPE = re.compile(r"expected type (\w+) in aggregation (expression|parameter), got (\w+)")
_OF_ONE_OPERATOR = ("comparisons between scalars must use", "bool modifier can only be used on")
_OF_TWO_SIDES = ("set operator", "vector matching only allowed")
_OF_AN_OPERAND = ("binary expression must contain only scalar and instant vector types",)
_OF_BRACKETS = ("ranges only allowed for vector selectors", "no offset modifiers allowed before range")
_OF_A_START = (
    "unknown function with name",
    "expected 0 argument",
    "expected at",
    "wrong number of arguments",
    "no arguments for aggregate",
    "vector selector must contain",
    "metric name must not be set twice",
    "offset may not be set",
    "@ <timestamp> may not be set",
    "subquery is only allowed on",
    "unary expression only allowed on",
    "offset modifier must be preceded by",
    "@ modifier must be preceded by",
    "error parsing regular expression",
)
_ARGUMENT_COUNT = re.compile(r"expected \d+ argument")
_EXAMPLES = {"vector": "x", "scalar": "1", "string": '""', "matrix": "x[1m]"}


def locate(expr: str, message: str, complaint: Complaint) -> int | None:
    """Return the index in `expr` of what `message`, the parser's complaint about it, means; None if it is not certain.

    It is the length of the expression where that ends too early, and 0 where there is none.
    """
    if not tokenize(expr):
        return 0
    try:
        found = parts(expr)
    except Unexpected as error:
        return error.index
    except RecursionError:
        return None
    part = _innermost(expr, found, message, complaint)
    return None if part is None else _within(expr, part, message, complaint)


def _innermost(expr: str, found: Sequence[Part], message: str, complaint: Complaint) -> Part | None:
    """Return the first part, inner ones before outer, of which alone the parser says the same."""
    if len(found) > MAX_QUESTIONS:
        return None
    asked: dict[str, bool] = {}
    for part in found:
        text = expr[part.start : part.end]
        if text not in asked:
            asked[text] = complaint(text) == message
        if asked[text]:
            return next((p for p in found if (p.start, p.end) == (part.start, part.end) and _fits(p, message)), part)
    return None


def _fits(part: Part, message: str) -> bool:
    """Whether a part has what the message is about, of the several that begin and end at the same places."""
    if _ARGUMENT_TYPE.match(message) or _AGGREGATE_TYPE.match(message):
        return bool(part.args)
    if message.startswith(_OF_BRACKETS):
        return part.bracket >= 0
    return bool(part.operators) if message.startswith((*_OF_ONE_OPERATOR, *_OF_TWO_SIDES, *_OF_AN_OPERAND)) else True


def _within(expr: str, part: Part, message: str, complaint: Complaint) -> int | None:
    if wanted := _ARGUMENT_TYPE.match(message):
        return _argument(expr, part, message, wanted[1], complaint)
    if wanted := _AGGREGATE_TYPE.match(message):
        # What is aggregated is a vector, its parameter anything else; the parser calls both an expression.
        return part.args[-1 if wanted[1] == "vector" else 0].start if part.args else None
    if message.startswith(_OF_ONE_OPERATOR):
        return part.operators[0].start if len(part.operators) == 1 else None
    if message.startswith(_OF_TWO_SIDES):
        return part.start if len(part.operators) == 1 else None
    if message.startswith(_OF_AN_OPERAND):
        blamed = (p.start for p in part.operands if complaint(f"{expr[p.start : p.end]} + 1") == message)
        return next(blamed, None)
    if message.startswith(_OF_BRACKETS):
        return part.bracket if part.bracket >= 0 else None
    certain = message.startswith(_OF_A_START) or _ARGUMENT_COUNT.match(message)
    return part.start if certain and len(part.operators) == 0 else None


def _argument(expr: str, part: Part, message: str, wanted: str, complaint: Complaint) -> int | None:
    """Return where the first argument of the wrong type begins: with all others put right, the complaint remains."""
    example = _EXAMPLES.get(wanted)
    if example is None:
        return None
    written = [expr[arg.start : arg.end] for arg in part.args]
    for number, arg in enumerate(part.args):
        trial = list(written)
        trial[number] = example
        fixed = complaint(f"{part.name}({', '.join(trial)})")
        if fixed is None:
            return arg.start
    return None
