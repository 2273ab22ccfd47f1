from __future__ import annotations

import math
from dataclasses import replace

import pytest

from controlplane.errors import QueryError
from tests.unit.controlplane.metrics.conftest import Ask, Promql

FLEET = """
r{job="a",i="1"} 1
r{job="a",i="2"} 3
r{job="b",i="1"} 5
r{job="b",i="2"} nan
"""
PLAIN = """
r{job="a",i="1"} 1
r{job="a",i="2"} 3
r{job="b",i="1"} 6
"""


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        ("sum(r)", {"{}": 10}),
        ("sum by (job) (r)", {'{job="a"}': 4, '{job="b"}': 6}),
        ("sum without (i) (r)", {'{job="a"}': 4, '{job="b"}': 6}),
        ("sum by (nope) (r)", {"{}": 10}),
        ("sum by (__name__) (r)", {"r": 10}),
        ("sum without () (r)", {'{i="1",job="a"}': 1, '{i="1",job="b"}': 6, '{i="2",job="a"}': 3}),
        ("avg by (job) (r)", {'{job="a"}': 2, '{job="b"}': 6}),
        ("min(r)", {"{}": 1}),
        ("max(r)", {"{}": 6}),
        ("count by (i) (r)", {'{i="1"}': 2, '{i="2"}': 1}),
        ("group(r)", {"{}": 1}),
        ("stdvar by (job) (r)", {'{job="a"}': 1, '{job="b"}': 0}),
        ("stddev by (job) (r)", {'{job="a"}': 1, '{job="b"}': 0}),
        ("quantile(0.5, r)", {"{}": 3}),
        ("quantile by (job) (0.5, r)", {'{job="a"}': 2, '{job="b"}': 6}),
        ("topk(1, r)", {'r{i="1",job="b"}': 6}),
        ("bottomk(2, r)", {'r{i="1",job="a"}': 1, 'r{i="2",job="a"}': 3}),
        ("topk by (job) (1, r)", {'r{i="2",job="a"}': 3, 'r{i="1",job="b"}': 6}),
        ("topk(0, r)", {}),
        ("topk(scalar(count(r)) - 2, r)", {'r{i="1",job="b"}': 6}),
        ('count_values("v", r)', {'{v="1"}': 1, '{v="3"}': 1, '{v="6"}': 1}),
        ('count_values by (job) ("v", r > bool 0)', {'{job="a",v="1"}': 2, '{job="b",v="1"}': 1}),
        ("sum(nope)", {}),
        ("count(nope)", {}),
        ("quantile(0.5, nope)", {}),
        ("topk(1, nope)", {}),
        ('count_values("v", nope)', {}),
    ],
)
def test_value(ask: Ask, expr: str, result: dict[str, float]) -> None:
    assert ask(PLAIN, expr, 0) == result


def test_nan_counts_only_where_there_is_nothing_else(ask: Ask) -> None:
    assert ask(FLEET, "min(r)", 0) == {"{}": 1}
    assert ask(FLEET, "max(r)", 0) == {"{}": 5}
    assert math.isnan(ask(FLEET, "sum(r)", 0)["{}"])
    assert math.isnan(ask(FLEET, 'max(r{job="b",i="2"})', 0)["{}"])
    assert list(ask(FLEET, "topk(3, r)", 0).values()) == [5, 3, 1]
    assert list(ask(FLEET, "bottomk(3, r)", 0).values()) == [1, 3, 5]
    assert ask(FLEET, 'count_values("v", r)', 0)['{v="NaN"}'] == 1


def test_the_mean_does_not_overflow_where_the_sum_does(ask: Ask) -> None:
    text = 'g{a="1"} 1e308\ng{a="2"} 1e308'
    assert ask(text, "avg(g)", 0) == {"{}": 1e308}


def test_topk_orders_an_instant_result_by_value(ask: Ask) -> None:
    assert list(ask(PLAIN, "topk(3, r)", 0)) == ['r{i="1",job="b"}', 'r{i="2",job="a"}', 'r{i="1",job="a"}']


def test_topk_over_time_chooses_at_each_step(promql: type[Promql]) -> None:
    engine = promql.load('g{a="x"} 1 5 1\ng{a="y"} 2 2 2')
    assert promql.range(engine, "topk(1, g)", 0, 120, 60) == {'g{a="x"}': [(60, 5)], 'g{a="y"}': [(0, 2), (120, 2)]}


def test_aggregation_over_series_that_come_and_go(promql: type[Promql]) -> None:
    engine = promql.load('g{a="x"} 1 2 stale\ng{a="y"} _ 10 10 10')
    result = promql.range(engine, "sum(g)", 0, 180, 60)
    assert result == {"{}": [(0, 1), (60, 12), (120, 10), (180, 10)]}
    assert promql.range(engine, "count(g)", 0, 120, 60) == {"{}": [(0, 1), (60, 2), (120, 1)]}
    assert promql.range(engine, "quantile(1, g)", 0, 120, 60) == {"{}": [(0, 1), (60, 10), (120, 10)]}


@pytest.mark.parametrize(("k", "kind"), [("NaN", "execution"), ("1e30", "execution")])
def test_a_k_that_is_no_integer(ask: Ask, k: str, kind: str) -> None:
    with pytest.raises(QueryError) as caught:
        ask(PLAIN, f"topk({k}, r)", 0)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("expr", "result"),
    [
        ('count_values("v", z)', {'{v="-0"}': 1, '{v="0"}': 1, '{v="NaN"}': 2}),
        # The label is set first, then grouped by: what the series had under it is gone.
        ('count_values by (i) ("i", r)', {'{i="1"}': 1, '{i="3"}': 1, '{i="6"}': 1}),
        ('count_values by (job) ("job", r > bool 2)', {'{job="0"}': 1, '{job="1"}': 2}),
        ('count_values without (i) ("job", r > bool 2)', {'{job="0"}': 1, '{job="1"}': 2}),
        ('count_values without (v, i) ("v", r)', {'{job="a"}': 2, '{job="b"}': 1}),
        ('count_values without (i) ("__name__", r)', {'{job="a"}': 2, '{job="b"}': 1}),
        ('count_values by (__name__) ("__name__", r > 3)', {"6": 1}),
        ('count_values("a b", r > 3)', {'{a b="6"}': 1}),
        # A k below 1 selects nothing, whatever else is wrong with it; it may vary from step to step.
        ("topk(-1e30, r)", {}),
        ("bottomk(0.9, r)", {}),
        ("topk(1.9, r)", {'r{i="1",job="b"}': 6}),
        # Infinity has no deviation in Prometheus 3, alone or not.
        ("stddev(inf)", {"{}": math.nan}),
        ("stdvar by (i) (inf)", {'{i="1"}': math.nan, '{i="2"}': 0}),
        ("avg(huge)", {"{}": -math.inf}),
    ],
)
def test_corners(ask: Ask, expr: str, result: dict[str, float]) -> None:
    zeros = 'z{i="1"} 0\nz{i="2"} -0\nz{i="3"} nan\nz{i="4"} nan\ninf{i="1"} inf\ninf{i="2"} 1\n'
    huge = 'huge{i="1"} 1e308\nhuge{i="2"} 1e308\nhuge{i="3"} -inf'
    expr = expr.replace("(inf)", '({__name__="inf"})')
    assert ask(PLAIN + zeros.replace("inf{", '{__name__="inf",') + huge, expr, 0) == pytest.approx(result, nan_ok=True)


def test_the_parameter_may_vary_over_time(promql: type[Promql]) -> None:
    engine = promql.load('g{i="1"} 1x3\ng{i="2"} 2x3\ng{i="3"} 3x3')
    assert promql.range(engine, "count(topk(time() / 60, g))", 0, 180, 60) == {"{}": [(60, 1), (120, 2), (180, 3)]}
    assert promql.range(engine, "quantile(time() / 120, g)", 0, 120, 60) == {"{}": [(0, 1), (60, 2), (120, 3)]}


def test_counting_values_that_would_take_too_much_memory_is_refused_before_it_does(promql: type[Promql]) -> None:
    """Each series has a value of its own at each step, and each value is a series with every step."""
    engine = promql.load("\n".join(f'g{{n="{n}"}} {n * 1000}+1x99' for n in range(50)))
    engine.limits = replace(engine.limits, max_samples=200_000)
    with pytest.raises(QueryError, match="too many samples") as caught:
        engine.range('count_values("v", g)', 0, 99 * 60, 60)
    assert caught.value.kind == "execution"
    assert len(engine.range('count_values("v", g)', 0, 9 * 60, 60).series) == 500
