"""Where arguments are written, whatever else the expression holds."""

from __future__ import annotations

import pytest

from controlplane.metrics.promql.annotations.places import places
from controlplane.metrics.promql.syntax.tree import Call, calls, parse


@pytest.mark.parametrize(
    ("expr", "marks"),
    [
        ("rate(x[5m])", "     ^"),
        ("rate( # rate(\n (x[5m]))", "                ^"),
        ('label_replace(x, "(a(", "(b)", "c", "(d)")', "              ^  ^      ^      ^    ^"),
        ("clamp((a) + 1, (1), ((2)))", "      ^         ^     ^"),
        ("abs(rate(x[5m])) - abs(-abs(y))", "    ^    ^             ^    ^"),
        ("sum(abs(a)) by (b) + max without (c) (abs(d))", "    ^   ^                             ^   ^"),
        ("rate(x[1m + 2 * 1m] offset (1m + 1m) @ start())", "     ^"),
        ("max_over_time((abs(x))[1h:(1m)])", "              ^    ^"),
        ("topk(2, quantile(0.5, a) by (x))", "     ^  ^        ^    ^"),
        ("SUM(Sum(a))", "    ^   ^"),
    ],
)
def test_arguments_begin_where_they_are_marked(expr: str, marks: str) -> None:
    expected = [index for index, mark in enumerate(marks) if mark == "^"]
    assert sorted(places(expr, parse(expr)).values()) == expected


def test_each_argument_has_its_own_place() -> None:
    expr = "clamp(rate(x[5m]), 1, 2) + clamp(rate(x[5m]), 3, 4)"
    tree = parse(expr)
    found = places(expr, tree)
    clamps = [call for call in calls(tree) if isinstance(call, Call) and call.name == "clamp"]
    assert [[expr[found[id(argument)] :][:6] for argument in call.args] for call in clamps] == [
        ["rate(x", "1, 2) ", "2) + c"],
        ["rate(x", "3, 4)", "4)"],
    ]
