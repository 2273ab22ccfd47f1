"""PromQL of Prometheus 3 to the tree of the parser, a Rust wheel, or to an error that says where and why."""

from __future__ import annotations

import re
from typing import Any

import promql_parser

from alerts.errors import ExpressionError
from alerts.expression import check_size
from alerts.promql.dialect import INSTANT, Rewritten, rewrite, with_signs_as_minus
from alerts.promql.durations import QueryTimes
from alerts.promql.locate import locate
from alerts.promql.tokens import place, tokenize

_NO_REASONS = ("invalid promql query", "unexpected character inside brackets")
"""Complaints that say no more than the place does."""
_KIND_OF_VALUE = re.compile(r"\b(type|got) (vector|matrix)\b")
_SHOWN_KINDS = {"vector": "instant vector", "matrix": "range vector"}


def parse_tree(expr: str, times: QueryTimes = INSTANT) -> tuple[Any, Rewritten]:
    """Return the parser's tree, and what the strings and names in it stand for (`Rewritten.meant`).

    Times after `@` are written as `dialect.at_seconds` reads them. `times` are what `step()` and `range()` are.

    Raises ExpressionError with the parser's reason, and `line:column` where the place is certain.
    """
    try:
        check_size(expr)
        expr.encode()
    except UnicodeEncodeError as error:
        raise ExpressionError(_at_place(expr, error.start, "invalid UTF-8")) from error
    except ValueError as error:
        raise ExpressionError(str(error)) from error
    text = rewrite(expr, times)
    tree, complaint = _parsed(text)
    if complaint is not None:
        # The rewritten text differs in numbers, strings and names alone: what is wrong in one is wrong in the other.
        index = locate(expr, complaint, lambda part: _complaint(part, times))
        raise ExpressionError(_at_place(expr, index, _worded(expr, index, complaint)))
    return tree, text


def _parsed(rewritten: Rewritten) -> tuple[Any, str | None]:
    """Return the parser's tree, or what is wrong, with the expression's own strings and names."""
    tree, complaint = _asked(rewritten.text)
    if complaint is None and (negated := with_signs_as_minus(rewritten.text)) is not None:
        complaint = _asked(negated)[1]
    return tree, None if complaint is None else rewritten.restored(complaint)


def _asked(text: str) -> tuple[Any, str | None]:
    try:
        return promql_parser.parse(text), None
    except RecursionError:
        return None, "the expression is nested too deeply"
    except (ValueError, OverflowError) as error:
        return None, str(error)
    except BaseException as error:
        # A panic in the Rust wheel arrives as pyo3's PanicException, which is no Exception and cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        return None, "the parser cannot read this expression"


def _complaint(part: str, times: QueryTimes) -> str | None:
    """Return what is wrong with a part of an expression, None where nothing is."""
    try:
        return _parsed(rewrite(part, times))[1]
    except ExpressionError as error:
        return str(error)


def _worded(expr: str, index: int | None, complaint: str) -> str:
    """Return the parser's complaint in Prometheus's words."""
    if complaint.startswith(_NO_REASONS) and index is not None:
        token = next((t for t in tokenize(expr) if t.start == index), None)
        return "unexpected end of input" if token is None else f"unexpected {token.text!r}"
    return _KIND_OF_VALUE.sub(lambda match: f"{match[1]} {_SHOWN_KINDS[match[2]]}", complaint)


def _at_place(expr: str, index: int | None, message: str) -> str:
    return f"parse error: {message}" if index is None else f"{place(expr, index)}: parse error: {message}"
