"""Metric names that an expression reads."""

from __future__ import annotations

import pytest

from controlplane.errors import QueryError
from controlplane.metrics.promql.syntax.metric_names import metric_names


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("vector(1)", set()),
        ("up", {"up"}),
        ('{__name__="a:b", x="up"}', {"a:b"}),
        ('{__name__=~"a.*"}', {""}),
        ("sum by (up) (rate(a[5m] offset 1m)) / -b > bool 1 unless on (c) max_over_time(d[1h:1m])", {"a", "b", "d"}),
        ('topk(scalar(k), label_replace(a, "x", "$1", "y", "z"))', {"k", "a"}),
    ],
)
def test_names_come_from_selectors_only(expr: str, names: set[str]) -> None:
    assert metric_names(expr) == names


def test_what_does_not_parse_is_an_error() -> None:
    with pytest.raises(QueryError):
        metric_names("sum(")
