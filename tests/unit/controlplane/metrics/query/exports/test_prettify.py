from __future__ import annotations

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.query.exports.prettify import prettify


@pytest.mark.parametrize(
    ("expr", "pretty"),
    [
        ("sum(x)by(a)", "sum by (a) (x)"),
        ("x>1_000", "x > 1000"),
        (" x@-5 ", "x @ -5.000"),
        ("x @ 1.5", "x @ 1.500"),
        ("x offset -90s @ end()", "x @ end() offset -1m30s"),
        ("x[370d:1w]", "x[370d:1w]"),
        ("x[.5]", "x[500ms]"),
        ("x offset 0s", "x offset 0s"),
        ("-Inf", "-Inf"),
        ("x > bool on() group_left y", "x > bool on () group_left () y"),
        ("x + ignoring() y", "x + y"),
        ("- - x{}", "--x"),
        ("x # nothing", "x"),
        (f"-(a + {'b' * 99})", f"-(\n    a\n  +\n    {'b' * 99}\n)"),
        (f"topk(2, {'b' * 99}) by (a)", f"topk by (a) (\n  2,\n  {'b' * 99}\n)"),
        (f"rate({'b' * 99}[5m])[1h:]", f"rate(\n  {'b' * 99}[5m]\n)[1h:]"),
        (r"sum(x{a=~`\d+`,b='\xff',c=~'.*'})by(a)", r'sum by (a) (x{a=~"\\d+",b="\xff",c=~".*"})'),
        ("sum(x{a=~'(?U)a+'})by(a)", 'sum by (a) (x{a=~"(?U)a+"})'),
        ('sum by("a.b",c)(x)', 'sum by ("a.b", c) (x)'),
        (" x[5m*2] ", "x[5m*2]"),
    ],
)
def test_pretty(expr: str, pretty: str) -> None:
    assert prettify(expr) == pretty


def test_what_is_no_promql_is_bad_data() -> None:
    with pytest.raises(QueryError, match=r"1:4: parse error"):
        prettify("x +")
