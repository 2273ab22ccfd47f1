from __future__ import annotations

import pytest

from alerts.rules import check_expr
from promql.errors import ExpressionError, PromqlError
from promql.nodes import AggregateExpr, BinaryExpr, Call, Node, ParenExpr, SubqueryExpr, UnaryExpr
from promql.parser import parse_tree


def test_each_node_says_where_it_is_written() -> None:
    expr = "sum by (a) (-rate(x{b='c'}[5m] offset 1m) * (2 + +y))"
    found = []
    waiting: list[Node] = [parse_tree(expr)]
    while waiting:
        node = waiting.pop(0)
        found.append(expr[node.start : node.end])
        waiting += [child for child in _children(node) if child is not None]
    assert found == [
        expr,
        "-rate(x{b='c'}[5m] offset 1m) * (2 + +y)",
        "-rate(x{b='c'}[5m] offset 1m)",
        "(2 + +y)",
        "rate(x{b='c'}[5m] offset 1m)",
        "2 + +y",
        "x{b='c'}[5m] offset 1m",
        "2",
        "+y",
    ]


def _children(node: Node) -> list[Node]:
    if isinstance(node, Call | AggregateExpr):
        return node.args
    if isinstance(node, BinaryExpr):
        return [node.lhs, node.rhs]
    return [node.expr] if isinstance(node, ParenExpr | UnaryExpr | SubqueryExpr) else []


@pytest.mark.parametrize("expr", ["(" * 20_000, "(" * 1_400 + "x" + ")" * 1_400, "abs(" * 1_400, "x" + "^x" * 1_400])
def test_what_is_nested_too_deeply_is_refused(expr: str) -> None:
    with pytest.raises(ExpressionError, match=r"nested too deeply|operators and brackets"):
        parse_tree(expr)


def test_a_long_sum_is_no_deep_one() -> None:
    assert parse_tree("x" + " + x" * 1_400).end == len("x" + " + x" * 1_400)


def test_of_two_wrong_arguments_the_first_is_blamed() -> None:
    with pytest.raises(ExpressionError, match=r"^1:10: parse error: expected type scalar"):
        parse_tree("clamp(x, y, z)")


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("rate(x[1e300])", "^1:8: parse error: duration out of range$"),
        ("x offset 1e300", "^1:10: parse error: duration out of range$"),
        ("+x[5m]", r"^1:1: parse error: unary expression only allowed on"),
        ("x smoothed", "^1:3: parse error: the smoothed modifier is experimental"),
        ("x[5m + 1m] + y{a=~'['}", r"^1:16: parse error: error parsing regexp: missing closing \]: `\[`$"),
        ("smoothed(x)", "^1:1: parse error: unknown function with name 'smoothed'$"),
        (r"x{a='b', __name__='y\u00e9'}", "^1:1: parse error: metric name must not be set twice: 'x' or 'yé'$"),
        ("sum(x) + nope(x)", "^1:10: parse error: unknown function with name 'nope'$"),
        ("\udfff", "^1:1: parse error: invalid UTF-8$"),
    ],
)
def test_errors_say_where_and_why(expr: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        parse_tree(expr)
    assert isinstance(caught.value, PromqlError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "expr", ["x > 1_000", "rate(x[300]) > 5m", "x @ -5", '{"a.b"}', "sum by ('a.b') (x)", "limitk(2, x)"]
)
def test_rules_may_use_what_queries_may(expr: str) -> None:
    check_expr(expr)


@pytest.mark.parametrize("expr", ["x[1e300]", "x offset 1e300", "x[5m]", "'text'", " "])
def test_rules_may_not_use_what_has_no_answer(expr: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_expr(expr)
