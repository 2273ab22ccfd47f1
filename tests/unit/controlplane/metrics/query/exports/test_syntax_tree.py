"""Syntax trees as Prometheus 3 writes them; expected values follow its web/api/v1/translate_ast.go."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.query.exports.syntax_tree import syntax_tree


def selector(name: str, *matchers: tuple[str, str, str], kind: str = "vectorSelector", **more: Any) -> dict[str, Any]:
    listed = [{"name": label, "type": op, "value": value} for label, op, value in matchers]
    plain = {"offset": 0, "timestamp": None, "startOrEnd": None, "anchored": False, "smoothed": False}
    named = [{"name": "__name__", "type": "=", "value": name}] if name else []
    return {"type": kind, "name": name, "matchers": listed + named, **plain, **more}


def number(text: str) -> dict[str, Any]:
    return {"type": "numberLiteral", "val": text}


MATCHING = {"card": "one-to-one", "labels": [], "on": False, "include": []}


@pytest.mark.parametrize(
    ("expr", "tree"),
    [
        ("1.5e3", number("1500")),
        ("-Inf", number("-Inf")),
        ('"a\\n"', {"type": "stringLiteral", "val": "a\n"}),
        ('"\\xff"', {"type": "stringLiteral", "val": "\ufffd"}),
        ('x{a="\\xff"}', selector("x", ("a", "=", "\ufffd"))),
        ('x{a="b",c!~"d"}', selector("x", ("a", "=", "b"), ("c", "!~", "d"))),
        ("x offset -5m", selector("x", offset=-300_000)),
        ("x @ 1.5", selector("x", timestamp=1500)),
        ("x @ end()", selector("x", startOrEnd="end")),
        ("x[5m]", selector("x", kind="matrixSelector", range=300_000)),
        ("(x)", {"type": "parenExpr", "expr": selector("x")}),
        ("-x", {"type": "unaryExpr", "op": "-", "expr": selector("x")}),
        (
            "x[1h:5m]",
            {
                "type": "subquery",
                "expr": selector("x"),
                "range": 3_600_000,
                "step": 300_000,
                "offset": 0,
                "timestamp": None,
                "startOrEnd": None,
            },
        ),
        (
            "rate(x[1m])",
            {
                "type": "call",
                "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                "args": [selector("x", kind="matrixSelector", range=60_000)],
            },
        ),
        (
            "topk without (a) (3, x)",
            {
                "type": "aggregation",
                "op": "topk",
                "expr": selector("x"),
                "param": number("3"),
                "grouping": ["a"],
                "without": True,
            },
        ),
        (
            "1 + 2",
            {"type": "binaryExpr", "op": "+", "lhs": number("1"), "rhs": number("2"), "matching": None, "bool": False},
        ),
        (
            "x > bool 2",
            {"type": "binaryExpr", "op": ">", "lhs": selector("x"), "rhs": number("2"), "matching": None, "bool": True},
        ),
        (
            "x / on (a) group_left (b) y",
            {
                "type": "binaryExpr",
                "op": "/",
                "lhs": selector("x"),
                "rhs": selector("y"),
                "matching": {"card": "many-to-one", "labels": ["a"], "on": True, "include": ["b"]},
                "bool": False,
            },
        ),
        (
            "x and ignoring (a) y",
            {
                "type": "binaryExpr",
                "op": "and",
                "lhs": selector("x"),
                "rhs": selector("y"),
                "matching": {"card": "many-to-many", "labels": ["a"], "on": False, "include": []},
                "bool": False,
            },
        ),
        (
            "x == y",
            {
                "type": "binaryExpr",
                "op": "==",
                "lhs": selector("x"),
                "rhs": selector("y"),
                "matching": MATCHING,
                "bool": False,
            },
        ),
    ],
)
def test_trees(expr: str, tree: dict[str, Any]) -> None:
    assert syntax_tree(expr) == tree


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(QueryError):
        syntax_tree("sum(")
