from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.functions.registry import FUNCTIONS
from controlplane.metrics.promql.values import Matrix, StringValue
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from tests.unit.controlplane.metrics.conftest import Promql

FLEET = """
m{job="a",i="1"} 0+1x30
m{job="a",i="2"} 5 nan inf -inf 3 stale _ 1 2 3
h_bucket{le="1"} 0+1x30
h_bucket{le="+Inf"} 0+3x30
"""


def limited(promql: type[Promql], clock: Callable[[], float] = lambda: 0.0, **limits: Any) -> PromqlEngine:
    return PromqlEngine(promql.load(FLEET).store, EngineLimits(**limits), clock)


@pytest.mark.parametrize(
    ("start", "end", "step", "message"),
    [
        (10, 0, 1, "end timestamp"),
        (0, 10, 0, "resolution"),
        (0, 10, -1, "resolution"),
        (0, 11_001, 1, "maximum resolution of 11,000 points"),
        (float("nan"), 1, 1, "out of range"),
        (0, float("inf"), 1, "out of range"),
        (0, 1e300, 1e299, "out of range"),
    ],
)
def test_parameters_of_a_range_query(promql: type[Promql], start: float, end: float, step: float, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        promql.load(FLEET).range("m", start, end, step)
    assert caught.value.kind == "bad_data"


def test_a_range_query_yields_a_matrix_and_nothing_else(promql: type[Promql]) -> None:
    engine = promql.load(FLEET)
    assert promql.range(engine, "1 + 1", 0, 60, 60) == {"{}": [(0, 2), (60, 2)]}
    assert isinstance(engine.range("nope", 0, 60, 60), Matrix)
    for expr in ("m[5m]", '"text"', "m[5m:1m]"):
        with pytest.raises(QueryError, match="invalid expression type") as caught:
            engine.range(expr, 0, 60, 60)
        assert caught.value.kind == "bad_data"


@pytest.mark.parametrize(
    "expr", ["m", "-{__name__=~'zero|nil'}", "sum(rate(m[90s]))", "time() + 1", "nope", "topk(1, m)", "scalar(m)"]
)
def test_instant_queries_at_several_times_at_once(promql: type[Promql], expr: str) -> None:
    engine = promql.load(FLEET + "zero 0+0x3 stale\nnil _x6 0+0x9\n")
    times_ms = [0, 30_000, 60_000, 61_000, 120_000, 450_000, 1_000_000]
    expected = [engine.instant(expr, ms / 1000) for ms in times_ms]
    # As texts: NaN is no equal of itself, and -0 is one of 0.
    assert repr(engine.instants(expr, np.array(times_ms))) == repr(expected)


def test_instant_queries_at_several_times_fail_as_one_does(promql: type[Promql]) -> None:
    engine = promql.load(FLEET)
    for expr, message in [
        ("m + on () m", "many-to-many"),
        ("m[5m]", "range vector"),
        ('"text"', "string"),
        ("m(", "unclosed"),
    ]:
        with pytest.raises(QueryError, match=message):
            engine.instants(expr, np.array([0, 60_000]))
    with pytest.raises(QueryError, match="out of range"):
        engine.instants("m", np.array([0, 10**15]))


def test_an_instant_query_of_a_string(promql: type[Promql]) -> None:
    assert promql.load(FLEET).instant('"text"', 5) == StringValue(5, "text")


def test_loading_too_many_samples_is_refused(promql: type[Promql]) -> None:
    engine = limited(promql, max_samples=25)
    assert engine.instant("m", 60)
    for expr in ("m[1h]", "sum_over_time(m[1h])", "vector(1)[1h:1s]"):
        with pytest.raises(QueryError, match="too many samples") as caught:
            engine.instant(expr, 1800)
        assert caught.value.kind == "execution"


def test_a_subquery_of_a_million_years_is_refused_before_it_is_laid_out(promql: type[Promql]) -> None:
    with pytest.raises(QueryError, match="too many samples"):
        promql.load(FLEET).instant("vector(1)[100y:1ms]", 1e9)


def test_the_deadline_is_checked_between_nodes(promql: type[Promql]) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    assert limited(promql, clock, timeout_s=100).instant("m + m", 60)
    with pytest.raises(QueryError, match="timed out") as caught:
        limited(promql, clock, timeout_s=3).instant("sum(m) + sum(m) + sum(m)", 60)
    assert caught.value.kind == "timeout"


def test_results_come_in_one_order_whatever_the_order_of_loading(promql: type[Promql]) -> None:
    lines = [line.strip() for line in FLEET.strip().splitlines()]
    forward, backward = promql.load("\n".join(lines)), promql.load("\n".join(reversed(lines)))
    for expr in (
        '{__name__!=""}',
        'rate({__name__!=""}[5m])',
        "m or h_bucket",
        "sum by (job, le) ({job=~'.*',i=~'.+'})",
    ):
        one, other = promql.instant(forward, expr, 600), promql.instant(backward, expr, 600)
        assert isinstance(one, dict) and isinstance(other, dict)
        assert list(one) == list(other)


SELECTORS = st.sampled_from(["m", 'm{job="a"}', 'm{i=~"1|2"}', "h_bucket", "nope", '{__name__=~".+"}', "m offset 1m"])
NUMBERS = st.sampled_from(["0", "1", "-1.5", "NaN", "Inf", "-Inf", "1e300", "time()"])
OPERATORS = st.sampled_from(
    ["+", "-", "*", "/", "%", "^", "==", "!= bool", ">", "<= bool", "and", "or", "unless", "atan2"]
)
RANGES = st.sampled_from(["[5m]", "[5m:1m]", "[1h:7s]", "[1ms]", "[10m] offset -5m", "[5m] @ end()", "[1m:] @ start()"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    matching = st.sampled_from(["", "on (job)", "ignoring (i)", "on () group_left", "on (job) group_right (i)"])
    return st.one_of(
        st.builds("({} {} {} {})".format, inner, OPERATORS, matching, inner),
        st.builds("{}({})".format, st.sampled_from(sorted(FUNCTIONS)), inner),
        st.builds("{}({}{})".format, st.sampled_from(sorted(FUNCTIONS)), inner, RANGES),
        st.builds("{}({}, {})".format, st.sampled_from(sorted(FUNCTIONS)), inner, inner),
        st.builds("{} by (job) ({})".format, st.sampled_from(["sum", "avg", "stddev", "min", "group"]), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["topk", "bottomk", "quantile"]), NUMBERS, inner),
        st.builds('label_replace({}, "i", "$1", "job", "(.*)")'.format, inner),
        st.builds("-{}".format, inner),
    )


EXPRESSIONS = st.recursive(st.one_of(SELECTORS, NUMBERS), larger, max_leaves=8)
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.one_of(st.text(), st.text(alphabet="x1[](){}\"'`=~!<>+-*/%^@,.:#\\ mhsoff bytand", max_size=60)))
def test_any_text_raises_nothing_but_query_error(text: str) -> None:
    try:
        PromqlEngine(SeriesStore()).instant(text, 60)
    except QueryError as error:
        assert error.kind in ("bad_data", "execution", "timeout")
        assert str(error)


@QUICK
@given(expr=EXPRESSIONS)
def test_any_expression_raises_nothing_but_query_error(promql: type[Promql], expr: str) -> None:
    engine = promql.load(FLEET)
    for evaluate in (partial(engine.instant, expr, 600), partial(engine.range, expr, 0, 1200, 97)):
        try:
            evaluate().to_prometheus_json()
        except QueryError as error:
            assert error.kind in ("bad_data", "execution")


@QUICK
@given(expr=EXPRESSIONS)
def test_a_range_query_is_instant_queries_side_by_side(promql: type[Promql], expr: str) -> None:
    """Each step of a range query equals the instant query there (sorting aside, and but for start() and end())."""
    engine = promql.load(FLEET)
    steps = (0, 97, 600)
    try:
        one_by_one = [promql.instant(engine, expr, at) for at in steps]
        table = [promql.range(engine, expr.replace("start()", "0").replace("end()", "0"), at, at, 1) for at in steps]
    except QueryError:
        return
    if "@" in expr:
        return
    for at, single, ranged in zip(steps, one_by_one, table, strict=True):
        expected = {"{}": single} if isinstance(single, float) else single
        assert {k: repr([(float(at), v)]) for k, v in expected.items()} == {k: repr(v) for k, v in ranged.items()}
