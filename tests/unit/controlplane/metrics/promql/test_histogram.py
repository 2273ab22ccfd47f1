from __future__ import annotations

import math

import pytest

from controlplane.errors import QueryError
from tests.unit.controlplane.metrics.conftest import Ask, Promql

HISTOGRAM = """
h_bucket{le="0.1"} 10
h_bucket{le="0.5"} 30
h_bucket{le="2"} 40
h_bucket{le="+Inf"} 50
"""


@pytest.mark.parametrize(
    ("quantile", "value"),
    [
        ("0", 0),
        ("0.1", 0.05),
        ("0.2", 0.1),
        ("0.4", 0.3),
        ("0.7", 1.25),
        ("0.8", 2),
        ("0.9", 2),
        ("1", 2),
        ("-0.1", -math.inf),
        ("1.1", math.inf),
        ("NaN", math.nan),
    ],
)
def test_quantile(ask: Ask, quantile: str, value: float) -> None:
    assert ask(HISTOGRAM, f"histogram_quantile({quantile}, h_bucket)", 0) == {
        "{}": pytest.approx(value, rel=1e-14, nan_ok=True)
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('h{le="1"} 1\nh{le="2"} 2', math.nan),
        ('h{le="+Inf"} 2', math.nan),
        ('h{le="1"} 0\nh{le="+Inf"} 0', math.nan),
        ('h{le="-1"} 5\nh{le="+Inf"} 5', -1),
        ('h{le="1"} 4\nh{le="2"} 3\nh{le="+Inf"} 4', 0.5),
        ('h{le="1"} 1\nh{le="1.0"} 1\nh{le="+Inf"} 4', 1.0),
        ('h{le="1"} 2\nh{le="2"} 1.9999999999999998\nh{le="+Inf"} 4', 1.0),
        ('h{le="nonsense"} 9\nh{le="1"} 4\nh{le="+Inf"} 4', 0.5),
    ],
)
def test_odd_histograms(ask: Ask, text: str, value: float) -> None:
    quantile = 0.5
    assert ask(text, f"histogram_quantile({quantile}, h)", 0) == {"{}": pytest.approx(value, rel=1e-12, nan_ok=True)}


def test_series_without_buckets_yield_nothing(ask: Ask) -> None:
    assert ask("h 1", "histogram_quantile(0.5, h)", 0) == {}
    assert ask("h 1", "histogram_quantile(0.5, nope)", 0) == {}


def test_groups_with_other_buckets_are_computed_apart(ask: Ask) -> None:
    text = """
    h{m="a",le="1"} 4
    h{m="a",le="+Inf"} 4
    h{m="b",le="10"} 2
    h{m="b",le="20"} 4
    h{m="b",le="+Inf"} 4
    h{m="c",le="1"} 0
    h{m="c",le="+Inf"} 4
    """
    assert ask(text, "histogram_quantile(0.75, h)", 0) == {'{m="a"}': 0.75, '{m="b"}': 15, '{m="c"}': 1}


def test_a_bucket_that_is_missing_at_some_steps_is_left_out_there(promql: type[Promql]) -> None:
    engine = promql.load("""
    h{le="1"} 0 0 0
    h{le="2"} 4 stale _
    h{le="+Inf"} 4 4 4
    """)
    assert promql.range(engine, "histogram_quantile(0.5, h)", 0, 120, 60) == {"{}": [(0, 1.5), (60, 1), (120, 1)]}


def test_the_quantile_may_vary_over_time(promql: type[Promql]) -> None:
    engine = promql.load('h{le="100"} 10x5\nh{le="+Inf"} 10x5')
    assert promql.range(engine, "histogram_quantile(time() / 100, h)", 0, 60, 20) == {
        "{}": [(0, 0), (20, 20), (40, 40), (60, 60)]
    }


def test_histograms_that_differ_by_name_alone_are_computed_apart_and_then_one_too_many(ask: Ask) -> None:
    text = 'a{le="1"} 1\na{le="+Inf"} 2\nb{m="x",le="1"} 1\nb{m="x",le="+Inf"} 1'
    assert ask(text, 'histogram_quantile(0.5, {__name__=~"a|b"})', 0) == {"{}": 1, '{m="x"}': 0.5}
    with pytest.raises(QueryError, match="same labelset"):
        ask(text.replace('m="x",', ""), 'histogram_quantile(0.5, {__name__=~"a|b"})', 0)
