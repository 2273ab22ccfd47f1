from __future__ import annotations

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.prettify import prettify


@pytest.mark.parametrize(
    ("expr", "pretty"),
    [
        ("sum(x)by(a)", "sum by (a) (x)"),
        ("x>1_000", "x>1_000"),
        # The parser forgets the sign of a time: what it would write is another query.
        (" x@-5 ", "x@-5"),
        ("x @ 1.5", "x @ 1.5"),
        (r"sum(x{a=~`\d+`,b='\xff',c=~'.*'})by(a)", r'sum by (a) (x{a=~"\\d+",b="\xff",c=~".*"})'),
        ("sum(x{a=~'(?U)a+'})by(a)", 'sum by (a) (x{a=~"(?U)a+"})'),
        ('sum by("a.b",c)(x)', 'sum by ("a.b", c) (x)'),
        (" x[5m*2] ", "x[5m*2]"),
    ],
)
def test_pretty(expr: str, pretty: str):
    assert prettify(expr) == pretty


def test_what_is_no_promql_is_bad_data():
    with pytest.raises(QueryError, match=r"1:4: parse error"):
        prettify("x +")
