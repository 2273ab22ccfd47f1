"""Places of errors; tests/contract/test_promql_errors.py holds them against a real Prometheus."""

from __future__ import annotations

import pytest

from alerts.errors import ExpressionError
from alerts.promql.grammar import MAX_DEPTH, Unexpected, parts
from alerts.promql.locate import MAX_QUESTIONS, locate
from alerts.promql.parser import parse_tree


def test_parts_come_inner_before_outer():
    expr = "sum by (a) (rate(x{b='c'}[5m] offset 1m) * 2)"
    found = [expr[p.start : p.end] for p in parts(expr)]
    assert list(dict.fromkeys(found)) == [
        "x{b='c'}",
        "x{b='c'}[5m]",
        "x{b='c'}[5m] offset 1m",
        "rate(x{b='c'}[5m] offset 1m)",
        "2",
        "rate(x{b='c'}[5m] offset 1m) * 2",
        expr,
    ]


@pytest.mark.parametrize(
    ("expr", "index"),
    [("x y", 2), ("x +", 3), ("(x", 2), ("x)", 1), ("x{a}", 3), ("sum by (a", 9), ("x[5m", 4), ("x @ y", 4), ("on", 0)],
)
def test_the_first_word_that_does_not_fit(expr: str, index: int):
    with pytest.raises(Unexpected) as caught:
        parts(expr)
    assert caught.value.index == index


@pytest.mark.parametrize(
    "expr",
    [
        "x @ start() offset -5m",
        "x @ -1",
        "sum(x) by (a, 'b.c',)",
        "a + on () group_left b == bool ignoring (c) d",
        "a and unless or or",
        "{'a.b', c=~'d',}",
        "-x ^ -2",
        "5m * 0x1f % inf",
        "x[5m:]",
        "by + offset + start",
    ],
)
def test_what_is_promql_has_parts(expr: str):
    parse_tree(expr)
    assert parts(expr)


def test_nothing_is_said_where_nothing_is_certain():
    assert locate("x + y", "some other complaint", lambda _: "some other complaint") is None
    assert locate("x + y", "some other complaint", lambda _: None) is None
    deep = "(" * (MAX_DEPTH + 2) + "x" + ")" * (MAX_DEPTH + 2)
    assert locate(deep, "vector selector must contain", lambda _: "vector selector must contain") is None


def test_the_parser_is_not_asked_without_end():
    asked = []

    def complaint(part: str) -> str | None:
        asked.append(part)
        return None

    long = " + ".join(f"x{n}" for n in range(MAX_QUESTIONS))
    assert locate(long, "vector selector must contain", complaint) is None
    assert not asked


def test_of_two_wrong_arguments_none_is_blamed():
    with pytest.raises(ExpressionError, match=r"^parse error: expected type scalar"):
        parse_tree("clamp(x, y, z)")
