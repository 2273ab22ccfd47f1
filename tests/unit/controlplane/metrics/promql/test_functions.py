"""Functions of windows, instants, time and labels."""

from __future__ import annotations

import math

import pytest

from controlplane.errors import QueryError
from tests.unit.controlplane.metrics.conftest import Ask, Promql

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("series", "expr", "value"),
    [
        ("g 1 2 3 6", "avg_over_time(g[10m])", 3),
        ("g 1e308 1e308 1e308", "avg_over_time(g[10m])", 1e308),
        ("g 1 inf", "avg_over_time(g[10m])", INF),
        ("g inf -inf", "avg_over_time(g[10m])", NAN),
        ("g 1 2 3 6", "sum_over_time(g[10m])", 12),
        ("g 4 nan 2", "min_over_time(g[10m])", 2),
        ("g 4 nan 2", "max_over_time(g[10m])", 4),
        ("g nan nan", "max_over_time(g[10m])", NAN),
        ("g 4 nan 2", "count_over_time(g[10m])", 3),
        ("g 4 nan 2", "present_over_time(g[10m])", 1),
        ("g 2 4 4 4 5 5 7 9", "stdvar_over_time(g[10m])", 4),
        ("g 2 4 4 4 5 5 7 9", "stddev_over_time(g[10m])", 2),
        ("g 4 1 3 2", "quantile_over_time(0.5, g[10m])", 2.5),
        ("g 4 1 3 2", "quantile_over_time(0, g[10m])", 1),
        ("g 4 1 3 2", "quantile_over_time(1, g[10m])", 4),
        ("g 4 1 3 2", "quantile_over_time(-1, g[10m])", -INF),
        ("g 4 1 3 2", "quantile_over_time(2, g[10m])", INF),
        ("g 4 1 3 2", "quantile_over_time(NaN, g[10m])", NAN),
        ("g nan 1 3", "quantile_over_time(0, g[10m])", NAN),
        ("g nan 1 3", "quantile_over_time(0.5, g[10m])", 1),
        ("g -1.5", "abs(g)", 1.5),
        ("g -1.5", "ceil(g)", -1),
        ("g -1.5", "floor(g)", -2),
        ("g -1.5", "round(g)", -1),
        ("g 2.5", "round(g)", 3),
        ("g 17", "round(g, 5)", 15),
        ("g 0", "exp(g)", 1),
        ("g 0", "ln(g)", -INF),
        ("g -1", "ln(g)", NAN),
        ("g 8", "log2(g)", 3),
        ("g 1000", "log10(g)", 3),
        ("g -1", "sqrt(g)", NAN),
        ("g -7", "sgn(g)", -1),
        ("g nan", "sgn(g)", NAN),
        ("g 7", "clamp(g, 1, 5)", 5),
        ("g nan", "clamp(g, 1, 5)", NAN),
        ("g 7", "clamp_min(g, 9)", 9),
        ("g 7", "clamp_max(g, 5)", 5),
        ("g 3", "g * 2 + 1", 7),
        ("g 0", "deg(vector(pi()))", 180),
        ("g 0", "timestamp(g)", 0),
        ("g 0", "timestamp(g + 1)", 30),
        ("g 0", "vector(time())", 30),
    ],
)
def test_value(promql: type[Promql], series: str, expr: str, value: float) -> None:
    at = 30 if len(series.split()) == 2 else 420
    result = promql.instant(promql.load(series), expr, at)
    assert result == pytest.approx({"{}": value}, rel=1e-15, nan_ok=True)


def test_clamp_with_the_bounds_crossed_is_empty(ask: Ask) -> None:
    assert ask("g 3x10", "clamp(g, 5, 1)") == {}


def test_last_over_time_keeps_the_name(ask: Ask) -> None:
    assert ask("g 1 2 3", "last_over_time(g[20m])") == {"g": 3}


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("minute", 7),
        ("hour", 23),
        ("day_of_week", 4),
        ("day_of_month", 29),
        ("day_of_year", 60),
        ("days_in_month", 29),
        ("month", 2),
        ("year", 2024),
    ],
)
def test_calendar(ask: Ask, function: str, value: float) -> None:
    moment = 1_709_248_020  # Thursday 2024-02-29 23:07:00 UTC
    assert ask("g 1", f"{function}(vector({moment}))") == {"{}": value}
    assert ask("g 1", f"{function}()", moment) == {"{}": value}


def test_calendar_before_1970_and_beyond_any_calendar(ask: Ask) -> None:
    assert ask("g 1", "year(vector(-1))") == {"{}": 1969}
    assert ask("g 1", "day_of_week(vector(-1))") == {"{}": 3}
    assert math.isnan(ask("g 1", "year(vector(1e18))")["{}"])


def test_sort_puts_nan_last_both_ways(ask: Ask) -> None:
    text = 'g{a="x"} 2\ng{a="y"} nan\ng{a="z"} 9'
    assert list(ask(text, "sort(g)", 0)) == ['g{a="x"}', 'g{a="z"}', 'g{a="y"}']
    assert list(ask(text, "sort_desc(g)", 0)) == ['g{a="z"}', 'g{a="x"}', 'g{a="y"}']


def test_scalar_of_one_of_many_and_of_none(ask: Ask) -> None:
    text = 'g{a="x"} 2\ng{a="y"} 3'
    assert ask(text, 'scalar(g{a="x"})', 0) == 2
    assert math.isnan(ask(text, "scalar(g)", 0))
    assert math.isnan(ask(text, "scalar(nope)", 0))


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        ("absent(g)", {}),
        ('absent(nope{a="b",c!="d",e=~"f",g="h"})', {'{a="b",g="h"}': 1}),
        ('absent(nope{a="b",a="c"})', {"{}": 1}),
        ('absent(nope{a="b",a=~"c"})', {"{}": 1}),
        ('absent(sum(nope{a="b"}))', {"{}": 1}),
        ("absent_over_time(g[1h])", {}),
        ('absent_over_time(nope{a="b"}[1h])', {'{a="b"}': 1}),
        ("absent_over_time(rate(nope[1m])[1h:1m])", {"{}": 1}),
    ],
)
def test_absence(ask: Ask, expr: str, result: dict[str, float]) -> None:
    assert ask("g 1x10", expr) == result


def test_absent_over_a_range_query_answers_only_where_nothing_is(promql: type[Promql]) -> None:
    engine = promql.load("g 1 stale _ 1")
    assert promql.range(engine, "absent(g)", 0, 240, 60) == {"{}": [(60, 1), (120, 1)]}


@pytest.mark.parametrize(
    ("args", "labels"),
    [
        ('"dst", "$1", "src", "(.*)-.*"', 'g{dst="a",src="a-b"}'),
        ('"dst", "${1}x$2", "src", "(.*)-(.*)"', 'g{dst="axb",src="a-b"}'),
        ('"dst", "$1x", "src", "(.*)-.*"', 'g{src="a-b"}'),
        ('"dst", "$name", "src", "(?P<name>.*)-.*"', 'g{dst="a",src="a-b"}'),
        ('"dst", "$$1", "src", ".*"', 'g{dst="$1",src="a-b"}'),
        ('"dst", "$1", "src", "a"', 'g{src="a-b"}'),
        ('"src", "", "src", ".*"', "g"),
        ('"dst", "new", "nope", ""', 'g{dst="new",src="a-b"}'),
        ('"__name__", "h", "src", ".*"', 'h{src="a-b"}'),
    ],
)
def test_label_replace(ask: Ask, args: str, labels: str) -> None:
    assert ask('g{src="a-b"} 1', f"label_replace(g, {args})", 0) == {labels: 1}


def test_label_join(ask: Ask) -> None:
    text = 'g{a="1",b="2"} 1'
    assert ask(text, 'label_join(g, "c", "-", "a", "nope", "b")', 0) == {'g{a="1",b="2",c="1--2"}': 1}
    assert ask(text, 'label_join(g, "a", "-")', 0) == {'g{b="2"}': 1}


@pytest.mark.parametrize(
    ("expr", "kind", "message"),
    [
        ('label_replace(g, "a", "x", "", "")', "execution", "same labelset"),
        ('label_replace(g, "", "x", "a", "")', "execution", "label name"),
        ('label_join(g, "", "x", "a")', "execution", "label name"),
        ('label_replace(g, "b", "x", "a", "(?=x)")', "execution", "invalid or unsupported Perl syntax"),
        ('label_replace(g, "b", "x", "a", "(")', "execution", "regular expression"),
        ("histogram_avg(g)", "bad_data", "histogram_avg"),
        ("mad_over_time(g[5m])", "bad_data", "mad_over_time"),
        ("limitk(2, g)", "bad_data", "limitk"),
        ("nope(g)", "bad_data", "nope"),
    ],
)
def test_refusals(ask: Ask, expr: str, kind: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        ask('g{a="1"} 1\ng{a="2"} 1', expr, 0)
    assert caught.value.kind == kind
