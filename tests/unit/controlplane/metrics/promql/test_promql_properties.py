"""Properties of every query, over random text, mutated queries, and random data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.samples import Labels, Layout, Series, labels_of
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.syntax.tree import parse
from controlplane.metrics.promql.values import Matrix, Scalar, StringValue, Vector
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore
from tests.contract.promql_grammar import Grammar

BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples every time, and not many: a test that fails fails again."""

INTERVAL_MS = 15_000
ROWS = 40
END = ROWS * INTERVAL_MS / 1000
LIMITS = EngineLimits(max_samples=2_000_000, timeout_s=20.0)

WORDS = r"""
( ) [ ] { } , + - * / ^ % == != > =~ = ! @ : ' " ` \ # 5m 1e308 0x Inf NaN -1 1_0 by on bool group_left offset and
x sum rate( topk( label_replace( absent( start() time() [5m] [1h:1s] temperature requests_total special 'a.*' {a=~'('}
"""
SCRAPS = st.sampled_from([*WORDS.split(), "\n", "\x00", "\ud800", "é", "9" * 40])
"""Words of PromQL and what breaks it."""

FLOATS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan]),
)
NAMES = st.sampled_from(["requests_total", "temperature", "special", "late", "info", "latency_seconds_bucket"])
LABELS = st.dictionaries(
    st.sampled_from(["job", "instance", "status", "kind", "le", "a.b", "é"]),
    st.sampled_from(["api", "web", "200", "a:1", "0.5", "+Inf", "", "x y"]),
    max_size=3,
)
DATA = st.dictionaries(
    st.tuples(NAMES, LABELS.map(labels_of)),
    st.lists(st.one_of(st.none(), FLOATS), min_size=1, max_size=ROWS),
    max_size=6,
)


Data = Mapping[tuple[str, Labels], Sequence[float | None]]


def engine_over(data: Data) -> PromqlEngine:
    """Return an engine over series of samples every 15 s from 0; None marks a series stale."""
    store = SeriesStore(retention_s=1e9)
    for number, ((name, labels), values) in enumerate(data.items()):
        layout = Layout((Series(name, labels),))
        for row, value in enumerate(values):
            if value is None:
                store.end(str(number), row * INTERVAL_MS)
            else:
                store.append(str(number), layout, row * INTERVAL_MS, np.array([value]))
    return PromqlEngine(store, LIMITS)


def answer(engine: PromqlEngine, expr: str, at: float = END) -> object:
    """Evaluate both ways; an answer is a value or a QueryError, and an error of either kind is typed."""
    try:
        value = engine.instant(expr, at)
        assert isinstance(value, Scalar | StringValue | Vector | Matrix)
        value.to_prometheus_json()
        engine.range(expr, 0, at, 60).to_prometheus_json()
    except QueryError as error:
        assert error.kind in ("bad_data", "execution", "timeout") and str(error)
        return error
    return value


@BOUNDED
@given(st.text(max_size=60))
def test_random_text_is_a_query_or_bad_data(text: str) -> None:
    try:
        parse(text)
    except QueryError as error:
        assert error.kind == "bad_data" and str(error)


@BOUNDED
@given(st.lists(SCRAPS, max_size=12), st.booleans())
def test_scraps_of_promql_are_a_query_or_a_typed_error(scraps: list[str], spaced: bool) -> None:
    answer(FIXED, (" " if spaced else "").join(scraps))


@BOUNDED
@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), SCRAPS), max_size=4))
def test_mutated_queries_are_answered_or_refused(seed: int, edits: list[tuple[int, int, str]]) -> None:
    expr = Grammar(seed).any(3)
    for at, length, scrap in edits:
        expr = expr[:at] + scrap + expr[at + length :]
    answer(FIXED, expr)


@BOUNDED
@given(DATA, st.integers(0, 10_000))
def test_queries_over_any_data_are_answered_or_refused(data: Data, seed: int) -> None:
    answer(engine_over(data), Grammar(seed).any(3))


FIXED = engine_over(
    {
        ("requests_total", labels_of({"job": job, "instance": "a:1"})): [float(n * step) for n in range(ROWS)]
        for job, step in (("api", 3), ("web", 5))
    }
    | {
        ("temperature", labels_of({"job": "api", "instance": "a:1"})): [math.sin(n) for n in range(ROWS)],
        ("special", labels_of({"kind": "odd"})): [math.nan, math.inf, None, -math.inf, 0.0] * 8,
    }
)


def numbers(value: object) -> dict[Labels, float]:
    assert isinstance(value, Vector), value
    return {sample.labels: sample.value for sample in value.samples}


def same(left: dict[Labels, float], right: dict[Labels, float]) -> bool:
    return left.keys() == right.keys() and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in ((left[key], right[key]) for key in left)
    )


@BOUNDED
@given(DATA, st.sampled_from([0, 15, 60, 300, -15, -300]), st.integers(0, int(END)))
def test_an_offset_is_the_past(data: Data, offset: int, at: int) -> None:
    engine = engine_over(data)
    for name in ("requests_total", "special"):
        moved = numbers(engine.instant(f"{name} offset {offset}", at))
        assert same(moved, numbers(engine.instant(name, at - offset)))
        assert same(moved, numbers(engine.instant(f"{name} @ {at - offset}", at)))
        window = numbers(engine.instant(f"last_over_time({name}[5m] offset {offset})", at))
        assert same(window, numbers(engine.instant(f"last_over_time({name}[5m])", at - offset)))


COLUMNS = (
    "requests_total",
    "sum by (job) (temperature)",
    "topk(2, special)",
    "max_over_time(special[2m])",
    "rate(requests_total[2m])",
    "quantile(0.3, special)",
    "count_values('v', info)",
    "temperature > 0",
    "special or temperature",
    "stddev_over_time(temperature[3m])",
    "deriv(temperature[3m])",
    "predict_linear(temperature[2m], 60)",
    "sum by (job) (rate(requests_total[90s]))",
    "max_over_time(requests_total[4m:30s])",
    "absent(late)",
    "histogram_quantile(0.9, latency_seconds_bucket)",
    "histogram_fraction(0, 1, latency_seconds_bucket)",
    "requests_total unless on (job) special",
    "clamp(special, time() - 100, 7)",
    "label_join(info, 'both', '-', 'job', 'kind')",
)


@BOUNDED
@given(DATA, st.sampled_from(COLUMNS))
def test_a_column_of_a_range_query_is_the_instant_query_at_that_step(data: Data, expr: str) -> None:
    engine = engine_over(data)
    try:
        matrix = engine.range(expr, 0, END, 60)
    except QueryError:
        # Of a range query one bad step is enough.
        return
    for at in range(0, int(END) + 1, 60):
        column = {
            series.labels: float(value)
            for series in matrix.series
            for when, value in zip(series.times, series.values, strict=True)
            if when == at
        }
        assert same(column, numbers(engine.instant(expr, at))), at


@BOUNDED
@given(DATA)
def test_counting_together_is_counting_apart(data: Data) -> None:
    engine = engine_over(data)
    for name in ("requests_total", "special", "info"):
        everything = numbers(engine.instant(f"count({name})", END))
        for clause in ("by (job)", "without (kind)", "by (le, status)"):
            assert same(numbers(engine.instant(f"sum(count {clause} ({name}))", END)), everything)
            extremes = engine.instant(f"max(max {clause} ({name}))", END)
            assert same(numbers(extremes), numbers(engine.instant(f"max({name})", END)))


@BOUNDED
@given(DATA)
def test_set_operators_split_a_vector(data: Data) -> None:
    engine = engine_over(data)
    left = numbers(engine.instant("requests_total", END))
    kept = numbers(engine.instant("requests_total and on (job) special", END))
    rest = numbers(engine.instant("requests_total unless on (job) special", END))
    assert same(kept | rest, left) and not kept.keys() & rest.keys()
    assert same(numbers(engine.instant("requests_total or requests_total", END)), left)
    filtered = numbers(engine.instant("requests_total > 0", END)) | numbers(engine.instant("requests_total <= 0", END))
    assert same(filtered, {key: value for key, value in left.items() if not math.isnan(value)})


@BOUNDED
@given(DATA)
def test_order_is_the_same_whatever_came_first(data: Data) -> None:
    forward, backward = engine_over(data), engine_over(dict(reversed([*data.items()])))
    for expr in ("special", "sum by (job) (info)", "info or special", "max_over_time(late[5m])"):
        one, other = forward.instant(expr, END), backward.instant(expr, END)
        assert isinstance(one, Vector) and isinstance(other, Vector)
        assert [sample.labels for sample in one.samples] == [sample.labels for sample in other.samples]
