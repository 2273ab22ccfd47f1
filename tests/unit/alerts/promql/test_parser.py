from __future__ import annotations

import pytest

from alerts.errors import AlertError, ExpressionError
from alerts.promql.dialect import at_seconds, rewrite, with_signs_as_minus
from alerts.promql.parser import parse_tree
from alerts.rules import check_expr


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ("x + y", "x + y"),
        ("1_000 + 0x_ff", "1000 + 0xff"),
        ("x[.5] offset .5", "x[0.5] offset 0.5"),
        ("x[1_0:2_0]", "x[10:20]"),
        ("'1_000' # 1_000", '"\U000f0000_" # 1_000'),
        (
            "x_1 + y{a='', b='1_00', c=~'1.*', d!~'.*'}",
            'x_1 + y{a="", b="\U000f0000", c=~"\U000f0001", d!~"\U000f0002?"}',
        ),
        ("x[5m*2:] offset -(1m)", "x[600000ms:] offset -60000ms"),
        ("x[0.1+0.2] offset (-1.5ms)", "x[300ms] offset (-1.5ms)"),
        ("x[0.1+0.2] offset (-0.0015)", "x[300ms] offset -1ms"),
        ("x offset 0s", "x offset 0"),
        ("by (smoothed)", "by (smoothed_0)"),
        ("x @ 5m", "x @ 300.000"),
        ("x @ +1_0", "x @ 10.000"),
        ("x @ start()", "x @ start()"),
        ("start + end", "start + end"),
        ("x @ 1_0 - 5", "x @ 10.000 - 5"),
        ("x @ 1 +", "x @ 1.000 +"),
        ("", ""),
    ],
)
def test_what_the_parser_gets(expr: str, text: str):
    assert rewrite(expr).text == text


@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.5, 1e9, 1e11])
def test_times_before_1970_survive_the_parser(seconds: float):
    _, _, written = rewrite(f"x @ -{seconds}").text.rpartition(" ")
    assert round(at_seconds(float(written)) * 1000) == -round(seconds * 1000)
    _, _, written = rewrite(f"x @ {seconds}").text.rpartition(" ")
    assert at_seconds(float(written)) == seconds


@pytest.mark.parametrize(
    ("expr", "negated"),
    [
        ("x + y", None),
        ("+x", "-x"),
        ("x + +y", "x + -y"),
        ("sum(+x) + (+ y)", "sum(-x) + (- y)"),
        ("x @ +5 offset +5m", None),
        ("x and +y", "x and -y"),
        ("'+x' + y", None),
    ],
)
def test_signs_that_the_parser_drops(expr: str, negated: str | None):
    assert with_signs_as_minus(expr) == negated


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
def test_errors_say_where_and_why(expr: str, message: str):
    with pytest.raises(ExpressionError, match=message) as caught:
        parse_tree(expr)
    assert isinstance(caught.value, AlertError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "expr", ["x > 1_000", "rate(x[300]) > 5m", "x @ -5", '{"a.b"}', "sum by ('a.b') (x)", "limitk(2, x)"]
)
def test_rules_may_use_what_queries_may(expr: str):
    check_expr(expr)


@pytest.mark.parametrize("expr", ["x[1e300]", "x offset 1e300", "x[5m]", "'text'", " "])
def test_rules_may_not_use_what_has_no_answer(expr: str):
    with pytest.raises(ValueError, match=r"\w"):
        check_expr(expr)
