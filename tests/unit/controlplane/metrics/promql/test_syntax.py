from __future__ import annotations

import contextlib
import math

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.tree import (
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
from controlplane.metrics.series.matchers import Matcher, MatchOp
from promql.limits import MAX_EXPRESSION, MAX_OPERATORS


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
        ("1_000", Number(1000)),
        ("0x_FF", Number(255)),
        ("1_0.2_5e1_0", Number(10.25e10)),
        (".5", Number(0.5)),
        ("1h30m", Number(5400)),
        ("Inf", Number(math.inf)),
        ("x[300]", Range(X, 300_000)),
        ("x[1_000]", Range(X, 1_000_000)),
        ("x[.5]", Range(X, 500)),
        ("x[0x10:1e1]", Subquery(X, 16_000, 10_000)),
        ("x[1m500ms]", Range(X, 60_500)),
        ("x offset .5", Selector(X.matchers, 500)),
        ("x offset -1_0", Selector(X.matchers, -10_000)),
        ("x @ -1", Selector(X.matchers, 0, -1000)),
        ("x @ - 1.5", Selector(X.matchers, 0, -1500)),
        ("x @ -0", Selector(X.matchers, 0, 0)),
        ("x @ +1_0", Selector(X.matchers, 0, 10_000)),
        ("x @ 5m", Selector(X.matchers, 0, 300_000)),
        ("x[1m] @ -5", Range(Selector(X.matchers, 0, -5000), 60_000)),
        ("x[1m:] @ -0.001", Subquery(X, 60_000, None, 0, -1)),
        ("+x", X),
        ("++x", X),
        ('{"my.metric", "a b"="c"}', Selector((*named("my.metric").matchers, Matcher("a b", MatchOp.EQUAL, "c")))),
        ('sum by ("a.b", c) (x)', Aggregate("sum", X, None, ("a.b", "c"), False)),
        ("SUM BY (a) (x AND y)", Aggregate("sum", Binary("and", X, Y, False, PLAIN), None, ("a",), False)),
        ("sum + rate", Binary("+", named("sum"), named("rate"), False, PLAIN)),
        ("fill + step", Binary("+", named("fill"), named("step"), False, PLAIN)),
        ("smoothed + anchored", Binary("+", named("smoothed"), named("anchored"), False, PLAIN)),
        ("smoothed_0 + smoothed", Binary("+", named("smoothed_0"), named("smoothed"), False, PLAIN)),
        ("sum by (smoothed, step) (x)", Aggregate("sum", X, None, ("smoothed", "step"), False)),
        ("x + on (anchored) y", Binary("+", X, named("y"), False, VectorMatching(True, ("anchored",), "none", ()))),
        (r"x{b=`\d`}", Selector((named("x").matchers[0], Matcher("b", MatchOp.EQUAL, r"\d")))),
        (r"x{b=~`\d+|[[:alpha:]]`}", Selector((named("x").matchers[0], Matcher("b", MatchOp.RE, r"\d+|[[:alpha:]]")))),
        (
            r'x{b=~"\\Qa.\\E(?i)x|(?U)y"}',
            Selector((named("x").matchers[0], Matcher("b", MatchOp.RE, r"\Qa.\E(?i)x|(?U)y"))),
        ),
        (r'x{b="\xc3\xa9\303\251"}', Selector((named("x").matchers[0], Matcher("b", MatchOp.EQUAL, "éé")))),
        (r'x{b="\xff"}', Selector((named("x").matchers[0], Matcher("b", MatchOp.EQUAL, "\udcff")))),
        ("x[5m*2] offset -(1m + 30s)", Range(Selector(named("x").matchers, -90_000), 600_000)),
        ("x[10m:1m+1m]", Subquery(named("x"), 600_000, 120_000)),
        ("x offset 1m + 1m", Binary("+", Selector(named("x").matchers, 60_000), Number(60.0), False, PLAIN)),
        ("x offset 0s", named("x")),
        ("x offset step()", named("x")),
    ],
)
def test_tree(expr: str, node: object) -> None:
    assert parse(expr) == node


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("", "no expression"),
        ("x{", "unexpected end"),
        ("nope(x)", "unknown function"),
        ("rate(x)", "^1:6: parse error: expected type range vector in call to function 'rate', got instant vector$"),
        ("sum(1)", "^1:5: parse error: expected type instant vector in aggregation expression, got scalar$"),
        ("x +* y", r"^1:4: parse error: unexpected '\*'$"),
        ("x +", "^1:4: parse error: unexpected end of input$"),
        ("x\n+ (y z)", "^2:6: parse error: unexpected 'z'$"),
        ('{a=""}', "non-empty matcher"),
        ('x{a="1" or b="2"}', "not PromQL"),
        ("x @ 9e15", "1:5: parse error: timestamp out of bounds for @ modifier: 9e15"),
        ("x @ -9e15", "1:6: parse error: timestamp out of bounds"),
        ("x @ NaN", "parse error"),
        ("x[300y]", "1:3: parse error: duration out of range"),
        ("x offset 1e300", "1:10: parse error: duration out of range"),
        ('y + x{a=~"("}', r"^1:7: parse error: error parsing regexp: missing closing \): `\(`$"),
        (r'y + x{a="\q"}', r"^1:9: parse error: unknown escape sequence U\+0071 'q'$"),
        ('sum by ("") (x)', 'parse error: invalid label name for grouping: ""$'),
        (r'x * on ("\xff") y', 'parse error: invalid label name for grouping: "\ufffd"$'),
        ("x[0]", "^1:3: parse error: duration must be greater than 0$"),
        ("x[5m:0s]", "^1:6: parse error: duration must be greater than 0$"),
        ("x[1m-1m]", "^1:3: parse error: duration must be greater than 0$"),
        ("x[5m *]", "^1:7: parse error: unexpected ']'$"),
        ("x offset (1m) - y", "^1:17: parse error: unexpected 'y'$"),
        ("x[step()]", "^1:3: parse error: duration must be greater than 0$"),
        ("x[5m + 1m] + y[", "^1:16: parse error: unexpected end of input"),
        ("1" + "+1" * (MAX_OPERATORS + 1), "operators"),
        ("(" * 50_000, "characters"),
        ("x" * (MAX_EXPRESSION + 1), "characters"),
        ("(" * (MAX_OPERATORS + 1), "operators"),
        ("1" + "+1" * (MAX_OPERATORS - 1), "nested too deeply"),
        ("x{a='\ud800'}", "1:6: parse error: invalid UTF-8"),
    ],
)
def test_bad_data(expr: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        parse(expr)
    assert caught.value.kind == "bad_data"


def test_operators_in_strings_and_comments_do_not_count() -> None:
    assert isinstance(parse('label_replace(x, "a", "' + "+" * 2000 + '", "b", "") # ' + "(" * 2000), Call)


def test_series_selectors() -> None:
    assert parse_selector('x{a!="b"}') == (*X.matchers, Matcher("a", MatchOp.NOT_EQUAL, "b"))
    for expr in ("x offset 5m", "x @ 1", "sum(x)", "x[5m]", "1"):
        with pytest.raises(QueryError, match="selector"):
            parse_selector(expr)


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("mad_over_time(x[5m])", '^1:1: parse error: function "mad_over_time" is experimental in Prometheus 3'),
        ("1 + info(x)", '^1:5: parse error: function "info" is experimental'),
        ("start()", '^1:1: parse error: function "start" is experimental'),
        ("holt_winters(x[5m], 0.1, 0.1)", "gone from Prometheus 3, where double_exponential_smoothing is experimental"),
        ("integral(x[5m])", '^1:1: parse error: function "integral" is experimental'),
        ("histogram_sum(x)", '^1:1: parse error: function "histogram_sum" is of native histograms'),
        ("sum(limitk(2, x))", "^1:5: parse error: limitk is experimental"),
        ("x + fill(0) y", "^1:5: parse error: the fill modifier is experimental"),
        ("rate(x[5m] smoothed)", "^1:12: parse error: the smoothed modifier is experimental"),
        ("x anchored", "^1:3: parse error: the anchored modifier is experimental"),
        ("rate(x[step() + 5m]) + step()", '^1:24: parse error: function "step" is experimental'),
        ("min_of(1, 2)", '^1:1: parse error: function "min_of" is experimental'),
    ],
)
def test_what_is_experimental_is_refused_by_its_name(expr: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        parse(expr)
    assert caught.value.kind == "bad_data"


@pytest.mark.parametrize("expr", ["x @ -1", "x[1e300]", "x offset 1e300", "x[9223372037s]", "x @ 1e300", "x @ -Inf"])
def test_nothing_panics(expr: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A panic in the parser prints a stack trace that anybody with a query could fill the log with."""
    with contextlib.suppress(QueryError):
        parse(expr)
    assert capfd.readouterr().err == ""
