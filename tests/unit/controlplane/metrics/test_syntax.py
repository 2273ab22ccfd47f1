from __future__ import annotations

import pytest

from alerts.expression import MAX_EXPRESSION, MAX_OPERATORS
from controlplane.errors import QueryError
from controlplane.metrics.matchers import Matcher, MatchOp
from controlplane.metrics.syntax import (
    Aggregate,
    Binary,
    Call,
    Negate,
    Number,
    Range,
    Selector,
    String,
    Subquery,
    VectorMatching,
    parse,
    parse_selector,
)


def named(name: str) -> Selector:
    return Selector((Matcher("__name__", MatchOp.EQUAL, name),))


X, Y = named("x"), named("y")
PLAIN = VectorMatching(False, (), "none", ())


@pytest.mark.parametrize(
    ("expr", "node"),
    [
        ("1", Number(1)),
        ("-1", Number(-1)),
        ("5m", Number(300)),
        ("0x1f", Number(31)),
        ('"a\\n"', String("a\n")),
        ("((x))", X),
        ("-x", Negate(X)),
        ("-x ^ 2", Negate(Binary("^", X, Number(2), False, PLAIN))),
        ('{__name__=~"a|b"}', Selector((Matcher("__name__", MatchOp.RE, "a|b"),))),
        ('{"a.b"}', named("a.b")),
        ("x offset -5m", Selector(X.matchers, -300_000)),
        ("x @ 1.5", Selector(X.matchers, 0, 1500)),
        ("x @ start()", Selector(X.matchers, 0, "start")),
        ("x[1m30s]", Range(X, 90_000)),
        ("x[5m:] @ end()", Subquery(X, 300_000, None, 0, "end")),
        ("x[5m:30s] offset 1h", Subquery(X, 300_000, 30_000, 3_600_000)),
        ("time()", Call("time", (), "scalar")),
        ("rate(x[5m])", Call("rate", (Range(X, 300_000),))),
        ("sum(x)", Aggregate("sum", X, None, (), False)),
        ("sum by (a, b) (x)", Aggregate("sum", X, None, ("a", "b"), False)),
        ("topk without (a) (3, x)", Aggregate("topk", X, Number(3), ("a",), True)),
        ("1 == bool 2", Binary("==", Number(1), Number(2), True, PLAIN, "scalar")),
        ("x + y", Binary("+", X, Y, False, PLAIN)),
        ("x + on () y", Binary("+", X, Y, False, VectorMatching(True, (), "none", ()))),
        (
            "x * ignoring (a) group_right (b) y",
            Binary("*", X, Y, False, VectorMatching(False, ("a",), "right", ("b",))),
        ),
        ("x and on (a) y", Binary("and", X, Y, False, VectorMatching(True, ("a",), "none", ()))),
        ("x # and so on", X),
    ],
)
def test_tree(expr: str, node: object):
    assert parse(expr) == node


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("", "no expression"),
        ("x{", "unexpected end"),
        ("nope(x)", "unknown function"),
        ("rate(x)", "expected type matrix"),
        ('{a=""}', "non-empty matcher"),
        ('x{a="1" or b="2"}', "not PromQL"),
        ("x @ -1", "negative timestamp"),
        ("x @ 9e15", "invalid expression"),
        ('x{a=~"(a+)+"}', "exponential"),
        ("1" + "+1" * (MAX_OPERATORS + 1), "operators"),
        ("(" * 50_000, "characters"),
        ("x" * (MAX_EXPRESSION + 1), "characters"),
        ("(" * (MAX_OPERATORS + 1), "operators"),
        ("1" + "+1" * (MAX_OPERATORS - 1), "nested too deeply"),
        ("\ud800", "invalid expression"),
    ],
)
def test_bad_data(expr: str, message: str):
    with pytest.raises(QueryError, match=message) as caught:
        parse(expr)
    assert caught.value.kind == "bad_data"


def test_operators_in_strings_and_comments_do_not_count():
    assert isinstance(parse('label_replace(x, "a", "' + "+" * 2000 + '", "b", "") # ' + "(" * 2000), Call)


def test_series_selectors():
    assert parse_selector('x{a!="b"}') == (*X.matchers, Matcher("a", MatchOp.NOT_EQUAL, "b"))
    for expr in ("x offset 5m", "x @ 1", "sum(x)", "x[5m]", "1"):
        with pytest.raises(QueryError, match="selector"):
            parse_selector(expr)
