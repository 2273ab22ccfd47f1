"""Instant and range selectors: lookback, staleness, offset, @, and subqueries."""

from __future__ import annotations

import pytest

from tests.unit.controlplane.metrics.answers import as_matrix
from tests.unit.controlplane.metrics.conftest import Ask, Promql

GAUGE = "g 1 2 3 _ 5 stale _x10 9"
COUNTER = "c 0+10x10"


@pytest.mark.parametrize(
    ("at", "value"),
    [(-1, None), (0, 1), (59.999, 1), (60, 2), (180, 3), (299.999, 5), (300, None), (959, None), (960, 9)],
)
def test_newest_sample_until_staleness(ask: Ask, at: float, value: float | None) -> None:
    assert ask(GAUGE, "g", at) == ({} if value is None else {"g": value})


def test_lookback_is_five_minutes_and_open_on_the_left(ask: Ask) -> None:
    assert ask("g 7", "g", 299.999) == {"g": 7}
    assert ask("g 7", "g", 300) == {}


@pytest.mark.parametrize(
    ("expr", "count"),
    [("c[2m]", 2), ("c[119s]", 2), ("c[121s]", 3), ("c[1m]", 1), ("c[59s]", 1), ("c[2m] offset 30s", 2)],
)
def test_ranges_are_open_on_the_left(ask: Ask, expr: str, count: int) -> None:
    assert ask(COUNTER, f"count_over_time({expr})", 300) == {"{}": count}


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("c", 50),
        ("c offset 2m", 30),
        ("c offset -2m", 70),
        ("c @ 120", 20),
        ("c @ 120 offset 1m", 10),
        ("c offset 1m @ 120", 10),
        ("c @ start()", 50),
        ("c @ end()", 50),
        ("sum_over_time(c[2m] @ 120)", 30),
        ("timestamp(c offset 90s)", 180),
    ],
)
def test_offset_and_at(ask: Ask, expr: str, value: float) -> None:
    assert list(ask(COUNTER, expr, 300).values()) == [value]


def test_at_start_and_end_are_those_of_the_range_query(promql: type[Promql]) -> None:
    engine = promql.load(COUNTER)
    assert promql.range(engine, "c @ start()", 60, 180, 60) == {"c": [(60, 10), (120, 10), (180, 10)]}
    assert promql.range(engine, "c @ end()", 60, 180, 60) == {"c": [(60, 30), (120, 30), (180, 30)]}
    assert promql.range(engine, "sum_over_time(c[1m:1m] @ end())", 60, 120, 60) == {"{}": [(60, 20), (120, 20)]}


def test_a_range_query_leaves_gaps_where_there_is_no_value(promql: type[Promql]) -> None:
    engine = promql.load(GAUGE)
    assert promql.range(engine, "g", 0, 1020, 60) == {
        "g": [(0, 1), (60, 2), (120, 3), (180, 3), (240, 5), (960, 9), (1020, 9)]
    }


def test_a_range_selector_answers_raw_samples_without_markers(promql: type[Promql]) -> None:
    value = as_matrix(promql.load(GAUGE).instant("g[20m]", 960))
    assert [(s.times.tolist(), s.values.tolist()) for s in value.series] == [([0, 60, 120, 240, 960], [1, 2, 3, 5, 9])]


@pytest.mark.parametrize(
    ("expr", "samples"),
    [
        ("c[2m:1m]", [(240, 40), (300, 50)]),
        ("c[2m:]", [(240, 40), (300, 50)]),
        ("c[90s:30s]", [(240, 40), (270, 40), (300, 50)]),
        ("c[1m:50s]", [(250, 40), (300, 50)]),
        ("c[2m:1m] offset 1m", [(180, 30), (240, 40)]),
        ("c[2m:1m] @ 120", [(60, 10), (120, 20)]),
        ("(c > 30)[5m:1m]", [(240, 40), (300, 50)]),
        ("rate(c[2m])[1m:1m]", [(300, 10 / 60)]),
        ("c[10s:1m]", [(300, 50)]),
    ],
)
def test_subqueries_step_on_multiples_of_their_resolution(
    promql: type[Promql], expr: str, samples: list[tuple[float, float]]
) -> None:
    value = promql.load(COUNTER).instant(expr, 300)
    assert [list(zip(s.times.tolist(), s.values.tolist(), strict=True)) for s in as_matrix(value).series] == [samples]


def test_subquery_between_its_steps_is_empty(promql: type[Promql]) -> None:
    assert as_matrix(promql.load(COUNTER).instant("c[10s:1m]", 310)).series == []


def test_series_that_went_stale_at_different_times_keep_their_own_samples(ask: Ask) -> None:
    text = """
    m{s="a"} 1 2 3 4 5 6
    m{s="b"} 1 2 stale _ 5 6
    m{s="c"} _ 2 3 stale
    """
    assert ask(text, "count_over_time(m[10m])", 300) == {'{s="a"}': 6, '{s="b"}': 4, '{s="c"}': 2}
    assert ask(text, "sum(m)", 180) == {"{}": 4}
