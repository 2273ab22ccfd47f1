"""Memory of a query that reads rows in arenas: it is no multiple of the samples that are charged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.errors import QueryError
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Matrix, Vector
from controlplane.metrics.series import gather
from controlplane.metrics.series.budget import EngineLimits
from controlplane.metrics.series.series_store import SeriesStore

MIB = 1 << 20


def peak_of(work: Callable[[], object]) -> int:
    work()  # plans and labels stay
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def uneven() -> PromqlEngine:
    """One source with 3,000 rows in 50 minutes, and 2,000 with two."""
    store = SeriesStore(retention_s=1e9)
    for number in range(2001):
        layout = Layout((Series("x", (("n", str(number)),)),))
        for at in range(1, 3001) if number == 0 else (60, 3000):
            store.append(f"s{number}", layout, at * 1000, np.array([float(at + number)]))
    return PromqlEngine(store)


def test_one_source_with_many_rows_does_not_widen_those_of_all_others(uneven: PromqlEngine) -> None:
    def work() -> object:
        return uneven.instant("sum_over_time(x[1h])", 3000)

    value = work()
    assert isinstance(value, Vector)
    found = {dict(s.labels)["n"]: s.value for s in value.samples}
    assert found == {"0": sum(range(1, 3001)), **{str(n): 3060.0 + 2 * n for n in range(1, 2001)}}
    # A table of 2,001 rows as wide as the longest takes 46 MiB, and 7,000 samples 55 KiB.
    assert peak_of(work) < 8 * MIB


def test_uneven_sources_are_read_as_even_ones_are(uneven: PromqlEngine) -> None:
    for expr in ("rate(x[10m])", "max_over_time(x[2m])", "last_over_time(x[1h])", "count_over_time(x[50m])"):
        value = uneven.range(expr, 0, 3600, 300)
        together = {dict(series.labels)["n"]: series for series in value.series}
        for number in ("0", "1", "2000"):
            alone = uneven.range(expr.replace("x[", f'x{{n="{number}"}}['), 0, 3600, 300).series
            assert len(alone) == (number in together)
            for one in alone:
                assert np.array_equal(one.times, together[number].times)
                assert np.array_equal(one.values, together[number].values)


def test_many_steps_over_many_chunks_are_looked_at_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SeriesStore(retention_s=1e9)
    for number in range(100):
        layout = Layout((Series("x", (("n", str(number)),)),))
        for at in range(1, 301):
            store.append(f"s{number}", layout, at * 1000, np.array([float(at * 1000 + number)]))
    engine = PromqlEngine(store)

    def work() -> Matrix:
        return engine.range("x", 0, 300, 0.1)

    whole = work()
    assert [len(series.values) for series in whole.series] == [2991] * 100
    monkeypatch.setattr(gather, "MAX_GATHER", 20_000)
    again = work()
    assert all(np.array_equal(a.values, b.values) for a, b in zip(whole.series, again.series, strict=True))
    # Values, times and whether they are there are 17 bytes a step and series; a chunk holds 64 of the 300 rows.
    result = 100 * 3001 * 17
    assert peak_of(work) < 4 * result


def test_a_limit_is_named_with_what_to_do(uneven: PromqlEngine) -> None:
    uneven.limits = EngineLimits(max_samples=1000)
    with pytest.raises(QueryError) as caught:
        uneven.instant("sum_over_time(x[1h])", 3000)
    assert str(caught.value) == (
        "query processing would load too many samples into memory in query execution: more than 1,000. "
        "Ask for fewer series, a shorter range or a longer step"
    )
