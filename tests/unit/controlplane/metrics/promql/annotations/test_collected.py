"""Annotations of a query: their words, their number and their places."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.metrics.promql.annotations.collected import MAX_KEPT, Annotations
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.promql.values import Matrix

SAMPLES = """
gauge{n="1"} 1+1x20
gauge{n="2"} 2+1x20
other 1+1x20
requests_total 1+1x20
h_bucket{le="1"} 5+5x20
h_bucket{le="2"} 3+3x20
h_bucket{le="+Inf"} 9+9x20
close_bucket{le="1"} 2x20
close_bucket{le="2"} 1.9999999999999998x20
close_bucket{le="+Inf"} 4x20
odd_bucket{le="one",n="1"} 1x20
odd_bucket{le="one",n="2"} 1x20
odd_bucket 1x20
odd_bucket{le="1"} 1x20
odd_bucket{le="+Inf"} 1x20
"""

NOT_A_COUNTER = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
FORCED = (
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity "
    "(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)
WRONG = "PromQL warning: quantile value should be between 0 and 1, got "
BAD = 'PromQL warning: bucket label "le" is missing or has a malformed value of '


@pytest.fixture
def engine(promql: Any) -> PromqlEngine:
    loaded: PromqlEngine = promql.load(SAMPLES)
    return loaded


def told(engine: PromqlEngine, expr: str) -> list[str]:
    """Return what an instant query is told; of a range query it must be the same."""
    instant, over_time = Annotations(), Annotations()
    engine.instant(expr, 1200, annotations=instant)
    engine.range(expr, 600, 1200, 60, annotations=over_time)
    found = [*instant.told("warning"), *instant.told("info")]
    assert [*over_time.told("warning"), *over_time.told("info")] == found
    return found


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("rate(gauge[5m])", [f'{NOT_A_COUNTER}"gauge" (1:6)']),
        ("sum(\n  increase( ((gauge[5m])) ))", [f'{NOT_A_COUNTER}"gauge" (2:15)']),
        (
            "rate(gauge[5m]) + on () group_left () rate(other[5m])",
            [f'{NOT_A_COUNTER}"gauge" (1:6)', f'{NOT_A_COUNTER}"other" (1:44)'],
        ),
        ("rate(gauge[5m]) + rate(gauge[5m])", [f'{NOT_A_COUNTER}"gauge" (1:24)']),
        ("rate(requests_total[5m])", []),
        ("irate(gauge[5m])", []),
        ("resets(gauge[5m])", []),
        ("delta(gauge[5m])", []),
        ("rate(gauge[30s])", []),
        ("rate(nothing[5m])", []),
        ('rate({__name__=~"gauge|requests_total"}[5m])', [f'{NOT_A_COUNTER}"gauge" (1:6)']),
        ("rate((gauge + 0)[5m:1m])", []),
        ("rate((gauge)[5m:1m])", [f'{NOT_A_COUNTER}"gauge" (1:6)']),
        ("max_over_time(rate(gauge[2m])[5m:1m])", [f'{NOT_A_COUNTER}"gauge" (1:20)']),
        ('rate({"gauge"}[5m]) # rate(other[5m])', [f'{NOT_A_COUNTER}"gauge" (1:6)']),
    ],
)
def test_rates_of_what_may_be_no_counter(engine: PromqlEngine, expr: str, expected: list[str]) -> None:
    assert told(engine, expr) == expected


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("quantile(1.5, gauge)", [f"{WRONG}1.5 (1:10)"]),
        ("quantile by (n) (((-2)), nothing)", [f"{WRONG}-2 (1:20)"]),
        ("quantile(-(2) + 1e-7, gauge)", [f"{WRONG}-1.9999999 (1:10)"]),
        ("quantile(1e7, gauge)", [f"{WRONG}1e+07 (1:10)"]),
        ("quantile(scalar(nothing), gauge)", [f"{WRONG}NaN (1:10)"]),
        ("quantile(0, gauge) + quantile(1, gauge)", []),
        ("quantile_over_time(Inf, gauge[5m])", [f"{WRONG}+Inf (1:20)"]),
        ("quantile_over_time(Inf, nothing[5m])", []),
        ("histogram_quantile(-Inf, nothing)", [f"{WRONG}-Inf (1:20)"]),
        ("histogram_quantile(2, h_bucket)", [f"{WRONG}2 (1:20)"]),
        ("histogram_quantile(0.5, h_bucket)", [f'{FORCED} for metric name "h_bucket" (1:25)']),
        ("histogram_quantile(0.5, (sum by (le) (h_bucket)))", [f"{FORCED} (1:26)"]),
        ('histogram_quantile(0.5, h_bucket{le!="1"})', []),
        ('histogram_quantile(0.5, h_bucket{le!="+Inf"})', []),
        ("histogram_quantile(0.5, close_bucket)", []),
        ("histogram_fraction(0, 1, h_bucket)", []),
        ('histogram_quantile(0.5, odd_bucket{le!~"|one"} or odd_bucket > 1)', []),
        ("histogram_quantile(0.5, odd_bucket unless on () vector(1) or odd_bucket and on () vector(0) > 1)", []),
        (
            "histogram_quantile(0.5, sort(bottomk(0, odd_bucket)) or clamp(odd_bucket, 2, 1) or odd_bucket offset 1h)",
            [],
        ),
        (
            "histogram_quantile(0.5, odd_bucket)",
            [f'{BAD}"one" for metric name "odd_bucket" (1:25)', f'{BAD}"" for metric name "odd_bucket" (1:25)'],
        ),
        ("histogram_fraction(0, 1, -odd_bucket)", [f'{BAD}"one" (1:26)', f'{BAD}"" (1:26)']),
        ("histogram_quantile(0.5, gauge)", [f'{BAD}"" for metric name "gauge" (1:25)']),
    ],
)
def test_quantiles_and_buckets(engine: PromqlEngine, expr: str, expected: list[str]) -> None:
    assert told(engine, expr) == expected


def test_over_time_every_wrong_quantile_is_told_but_an_aggregation_tells_the_extremes(engine: PromqlEngine) -> None:
    def over_time(expr: str) -> tuple[str, ...]:
        annotations = Annotations()
        engine.range(expr, 0, 240, 60, annotations=annotations)
        return annotations.told("warning")

    wanted = "time() / 60 - 1"
    assert over_time(f"quantile_over_time({wanted}, gauge[1m])") == tuple(f"{WRONG}{n} (1:20)" for n in (-1, 2, 3))
    assert over_time(f"quantile({wanted}, gauge)") == (f"{WRONG}3 (1:10)", f"{WRONG}-1 (1:10)")
    assert over_time(f"quantile({wanted} + 0 / (time() > bool 60), gauge)") == (f"{WRONG}NaN (1:10)",)


def test_ten_are_told_and_how_many_more_there_are(engine: PromqlEngine) -> None:
    annotations = Annotations()
    engine.range("histogram_quantile(1 + time(), nothing)", 60, 720, 60, annotations=annotations)
    *ten, more = annotations.told("warning")
    assert ten == [f"{WRONG}{n} (1:20)" for n in range(61, 662, 60)][:10]
    assert more == "2 more warning annotations omitted"
    assert annotations.told("info") == ()


def test_what_is_kept_is_bounded(engine: PromqlEngine) -> None:
    annotations = Annotations()
    above, below = (f"quantile_over_time({quantile}, gauge[5m])" for quantile in ("1 + time()", "-time()"))
    engine.instant(f"max_over_time(({above} + {below})[20m:100ms])", 1200, annotations=annotations)
    assert annotations.told("warning")[-1] == f"{MAX_KEPT - 10} more warning annotations omitted"


def test_an_expression_that_is_nested_deeply_is_told_of_with_its_place(engine: PromqlEngine) -> None:
    annotations = Annotations()
    value = engine.range("(" * 200 + "rate(gauge[5m])" + ")" * 200, 600, 1200, 60, annotations=annotations)
    assert isinstance(value, Matrix) and len(value.series) == 2
    assert annotations.told("info") == (f'{NOT_A_COUNTER}"gauge" (1:206)',)


def test_an_expression_whose_tree_is_at_hand_is_told_of_with_its_places(engine: PromqlEngine) -> None:
    annotations, expr = Annotations(), "rate(gauge[5m])"
    engine.instant(expr, 1200, annotations=annotations, node=parse(expr))
    assert annotations.told("info") == (f'{NOT_A_COUNTER}"gauge" (1:6)',)


def test_a_rule_is_evaluated_without_anybody_to_tell(engine: PromqlEngine) -> None:
    assert engine.instant("quantile(2, rate(gauge[5m]))", 1200) is not None
