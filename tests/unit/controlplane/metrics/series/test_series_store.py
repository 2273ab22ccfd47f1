from __future__ import annotations

import threading

import numpy as np
import pytest

from collectors.samples import FloatArray, Layout, Metadata, Series, View
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.series.budget import Budget, EngineLimits
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.series_store import DAY_S, SeriesStore, StoreLimits
from tests.unit.controlplane.metrics.answers import as_matrix, as_vector

A, B, C = (Series(name, (("job", "x"),)) for name in "abc")


def row(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float64)


def chunk_bytes(rows: int, columns: int) -> int:
    return 8 * (1 + (2 + columns) * rows)


def vector(store: SeriesStore, expr: str, at: float) -> dict[str, float]:
    value = PromqlEngine(store).instant(expr, at)
    return {dict(s.labels)["__name__"]: s.value for s in as_vector(value).samples}


def everything(store: SeriesStore, at: float) -> dict[str, float]:
    return vector(store, '{__name__!=""}', at)


def test_a_row_is_read_back_by_every_series_of_its_layout() -> None:
    store = SeriesStore()
    layout = Layout((A, B))
    store.append("t", layout, 1000, row(1, 2))
    store.append("t", layout, 16_000, row(3, 4))
    assert everything(store, 10) == {"a": 1, "b": 2}
    assert everything(store, 16) == {"a": 3, "b": 4}


def test_series_missing_from_the_next_layout_go_stale_and_the_others_go_on() -> None:
    store = SeriesStore()
    store.append("t", Layout((A, B)), 1000, row(1, 2))
    store.append("t", Layout((C, A)), 16_000, row(5, 3))
    assert everything(store, 15) == {"a": 1, "b": 2}
    assert everything(store, 16) == {"a": 3, "c": 5}
    assert vector(store, "last_over_time(a[1m])", 20) == {"a": 3}


def test_a_layout_that_returns_continues_its_series_with_the_same_block() -> None:
    store = SeriesStore()
    for minute, names in enumerate(["AB", "A", "AB", "A", "AB"]):
        layout = Layout(tuple({"A": A, "B": B}[n] for n in names))
        store.append("t", layout, (minute + 1) * 60_000, row(*range(minute, minute + len(names))))
    stats = store.stats()
    assert (stats.series, stats.blocks) == (2, 2)
    assert everything(store, 300) == {"a": 4, "b": 5}
    matrix = PromqlEngine(store).instant('{__name__=~"a|b"}[10m]', 300)
    assert [(dict(s.labels)["__name__"], s.times.tolist(), s.values.tolist()) for s in as_matrix(matrix).series] == [
        ("a", [60, 120, 180, 240, 300], [0, 1, 2, 3, 4]),
        ("b", [60, 180, 300], [1, 3, 5]),
    ]
    assert everything(store, 240) == {"a": 3}


def test_an_equal_layout_in_another_object_is_the_same_layout() -> None:
    store = SeriesStore()
    store.append("t", Layout((A,)), 1000, row(1))
    store.append("t", Layout((Series(*A),)), 2000, row(2))
    assert store.stats().blocks == 1
    assert as_matrix(PromqlEngine(store).instant("a[1m]", 2)).series[0].values.tolist() == [1, 2]


def test_end_marks_the_last_layout_stale_once() -> None:
    store = SeriesStore()
    layout = Layout((A,))
    store.append("t", layout, 1000, row(1))
    store.end("t", 16_000)
    store.end("t", 31_000)
    store.end("never seen", 31_000)
    assert everything(store, 15) == {"a": 1}
    assert everything(store, 16) == {}
    store.append("t", layout, 46_000, row(2))
    assert everything(store, 46) == {"a": 2}
    assert as_matrix(PromqlEngine(store).instant("a[1m]", 46)).series[0].times.tolist() == [1, 46]


def test_a_scraped_nan_is_a_value_and_no_staleness_marker() -> None:
    store = SeriesStore()
    store.append("t", Layout((A,)), 1000, row(np.nan))
    assert np.isnan(everything(store, 1)["a"])


def test_one_series_written_by_two_sources_is_one_series() -> None:
    store = SeriesStore()
    store.append("old", Layout((A,)), 1000, row(1))
    store.end("old", 16_000)
    store.append("new", Layout((B, A)), 16_000, row(9, 2))
    store.append("new", Layout((B, A)), 31_000, row(9, 3))
    assert everything(store, 16) == {"a": 2, "b": 9}
    assert as_matrix(PromqlEngine(store).instant("a[1m]", 31)).series[0].values.tolist() == [1, 2, 3]


def test_views_scale_and_add_columns_without_copying_them() -> None:
    store = SeriesStore()
    seconds, total = Series("seconds", ()), Series("total", ())
    layout = Layout((A, B), (View(seconds, (0,), 1e-6), View(total, (0, 1), 1024.0)))
    store.append("t", layout, 1000, row(2e6, 3))
    before = store.stats().bytes
    assert everything(store, 1) == {"a": 2e6, "b": 3, "seconds": 2, "total": (2e6 + 3) * 1024}
    assert store.stats().bytes == before == chunk_bytes(8, 2)
    store.end("t", 2000)
    assert everything(store, 2) == {}


def test_the_first_of_two_columns_with_the_same_series_wins() -> None:
    store = SeriesStore()
    store.append("t", Layout((A, A), (View(A, (1,)),)), 1000, row(1, 2))
    assert everything(store, 1) == {"a": 1}
    assert store.stats().series_dropped == 2


def test_rows_out_of_order_are_dropped_and_counted() -> None:
    store = SeriesStore()
    layout = Layout((A,))
    store.append("t", layout, 2000, row(1))
    store.append("t", layout, 2000, row(2))
    store.append("t", layout, 1000, row(3))
    store.end("t", 1500)
    stats = store.stats()
    assert (stats.samples_appended, stats.rows_out_of_order) == (1, 3)
    assert everything(store, 3) == {"a": 1}


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (StoreLimits(max_series_per_source=2), {"a", "b"}),
        (StoreLimits(max_series=2), {"a", "b"}),
    ],
)
def test_beyond_a_cardinality_limit_known_series_are_kept_and_new_ones_dropped(
    limits: StoreLimits, kept: set[str]
) -> None:
    store = SeriesStore(limits=limits)
    store.append("t", Layout((A, B)), 1000, row(1, 2))
    store.append("t", Layout((C, A, B)), 2000, row(7, 8, 9))
    assert everything(store, 2) == {"a": 8, "b": 9}
    assert set(everything(store, 2)) == kept
    assert store.stats().series_dropped == 1


def test_a_source_that_changes_its_series_at_every_scrape_loses_its_oldest_layouts_first() -> None:
    store = SeriesStore(limits=StoreLimits(max_columns_per_source=40))
    other = Layout((Series("other", ()),))
    store.append("other", other, 1000, row(1))
    for n in range(1000):
        series = tuple(Series("churn", (("id", f"{n}-{i}"),)) for i in range(10))
        store.append("t", Layout((A, *series)), 1000 * (n + 1), np.arange(11.0))
    stats = store.stats()
    assert stats.blocks <= 4 + 1
    assert stats.series <= 4 * 10 + 2
    assert stats.layouts_evicted == 1000 - (stats.blocks - 1)
    assert stats.bytes == chunk_bytes(8, 1) + (stats.blocks - 1) * chunk_bytes(8, 11)
    assert vector(store, "a", 1000) == {"a": 0}
    assert as_vector(PromqlEngine(store).instant("count(churn)", 1000)).samples[0].value == 10
    assert vector(store, "last_over_time(other[1h])", 1000) == {"other": 1}
    assert as_vector(PromqlEngine(store).instant("count_over_time(a[2s])", 1000)).samples[0].value == 2


def test_made_up_families_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.metrics.series.series_table.MAX_FAMILIES", 5)
    store = SeriesStore()
    store.append("other", Layout((A,), metadata={"a": Metadata("gauge", "kept")}), 1000, row(1))
    for n in range(20):
        store.append("t", Layout((Series(f"m{n}", ()),), metadata={f"m{n}": Metadata("gauge", "")}), 1000 + n, row(1))
    assert {"a", "m19"} <= set(store.metadata())
    assert len(store.metadata()) <= 6


def test_families_without_a_layout_are_described_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.metrics.series.series_table.MAX_FAMILIES", 2)
    store = SeriesStore()
    store.describe({"a": Metadata("gauge", "old")})
    store.describe({"a": Metadata("gauge", "new"), "b": Metadata("counter", ""), "c": Metadata("counter", "")})
    assert store.metadata() == {"a": Metadata("gauge", "new"), "b": Metadata("counter", "")}


def test_zero_keeps_its_sign() -> None:
    store = SeriesStore()
    store.append("t", Layout((A, B)), 1000, row(-0.0, 0.0))
    assert {name: str(value) for name, value in everything(store, 1).items()} == {"a": "-0.0", "b": "0.0"}


def test_a_source_tells_its_newest_row() -> None:
    store = SeriesStore()
    assert store.newest_ms("t") is None
    store.append("t", Layout((A,)), 1000, row(1))
    store.append("t", Layout((A,)), 500, row(1))
    assert store.newest_ms("t") == 1000


def test_there_is_room_for_series_that_are_there_and_for_others_below_the_limit() -> None:
    store = SeriesStore(limits=StoreLimits(max_series=1))
    assert store.has_room_for(A)
    store.append("t", Layout((A,)), 1000, row(1))
    assert (store.has_room_for(A), store.has_room_for(B)) == (True, False)


def test_retention_drops_whole_chunks_then_blocks_then_series() -> None:
    store = SeriesStore(retention_s=3600)
    layout = Layout((A,))
    store.append("gone", Layout((B,)), 0, row(1))
    for n in range(2000):
        store.append("t", layout, n * 15_000, row(n))
    stats = store.stats()
    assert (stats.series, stats.blocks, stats.sources) == (1, 1, 1)
    oldest = as_matrix(PromqlEngine(store).instant("a[100d]", 30_000)).series[0].times[0]
    assert 1999 * 15 - 3600 - 64 * 15 < oldest <= 1999 * 15 - 3600
    assert stats.oldest_ms == oldest * 1000
    assert stats.bytes in (5 * chunk_bytes(64, 1), 6 * chunk_bytes(64, 1))
    assert everything(store, 1999 * 15) == {"a": 1999}


def test_recorded_series_are_kept_longer_than_scraped_ones() -> None:
    store = SeriesStore(retention_s=DAY_S, retention_recorded_s=35 * DAY_S)
    for source, series in (("t", A), ("rule:g:r", B), ("ledger:m", C)):
        store.append(source, Layout((series,)), 0, row(1))
    store.expire(round(20 * DAY_S * 1000))
    assert everything(store, 0) == {"b": 1, "c": 1}
    store.expire(round(36 * DAY_S * 1000))
    stats = store.stats()
    assert (stats.series, stats.bytes, stats.oldest_ms) == (0, 0, None)


def test_an_expired_series_may_come_back() -> None:
    store = SeriesStore(retention_s=60)
    store.append("t", Layout((A,)), 1000, row(1))
    store.expire(3_600_000)
    assert everything(store, 1) == {}
    store.append("t", Layout((A,)), 3_700_000, row(2))
    assert everything(store, 3700) == {"a": 2}


def test_metadata_of_the_latest_layout_wins() -> None:
    store = SeriesStore()
    store.append("t", Layout((A,), metadata={"a": Metadata("gauge", "old")}), 1000, row(1))
    store.append("t", Layout((A, B), metadata={"a": Metadata("counter", "new")}), 2000, row(1, 2))
    assert store.metadata() == {"a": Metadata("counter", "new")}


def test_plans_are_cached_until_the_index_changes() -> None:
    store = SeriesStore()
    store.append("t", Layout((A,)), 1000, row(1))
    matchers = (Matcher("job", MatchOp.RE, "x|y"),)
    plan = store.plan(matchers)
    assert store.plan(matchers) is plan
    store.append("u", Layout((B,)), 1000, row(1))
    assert len(store.plan(matchers).labels) == 2


def test_readers_beside_the_writer_never_lose_a_living_series() -> None:
    """Layouts flip at every row; each read must find `a`, whose samples never stop."""
    store = SeriesStore(retention_s=1e9)
    layouts = [Layout((A, B)), Layout((C, A)), Layout((A,))]
    store.append("t", layouts[0], 1000, row(0, 0))
    limits = EngineLimits()
    matchers = (Matcher("__name__", MatchOp.EQUAL, "a"),)
    bounds = np.array([-1], dtype=np.int64), np.array([1 << 40], dtype=np.int64)
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            samples = store.read(matchers, -1, 1 << 40, Budget(limits))
            _, newest = store.newest(matchers, *bounds, Budget(limits))
            if not (np.diff(samples.times) == 1000).all() or not newest.present.all():
                failures.append(f"{samples.times} {newest}")
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(2, 600):
        layout = layouts[n % 3]
        store.append("t", layout, n * 1000, row(*range(len(layout.raw))))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


@pytest.mark.parametrize("at", [1 << 62, -(1 << 62), 1 << 70, 253_402_300_800_000])
def test_a_time_that_no_calendar_has_is_dropped_and_the_source_goes_on(at: int) -> None:
    store = SeriesStore()
    layout = Layout((A,))
    store.append("t", layout, 1000, row(1))
    store.append("t", layout, at, row(2))
    store.append("u", layout, at, row(2))
    store.end("t", at)
    store.append("t", layout, 2000, row(3))
    stats = store.stats()
    assert (stats.rows_out_of_order, stats.newest_ms, stats.sources) == (3, 2000, 1)
    assert as_matrix(PromqlEngine(store).instant("a[1h]", 2)).series[0].values.tolist() == [1, 3]


def test_times_before_1970_and_up_to_the_year_9999() -> None:
    store = SeriesStore(retention_s=1e12)
    for at in (-5000, 5000, 253_402_300_799_999):
        store.append("t", Layout((A,)), at, row(at))
        assert store.newest_ms("t") == at
        ends = np.array([at], dtype=np.int64)
        _, newest = store.newest((Matcher("__name__", MatchOp.EQUAL, "a"),), ends - 1, ends, Budget(EngineLimits()))
        assert newest.values.tolist() == [[at]]
    largest = np.array([np.iinfo(np.int64).max])
    _, newest = store.newest((Matcher("__name__", MatchOp.EQUAL, "a"),), -largest, largest, Budget(EngineLimits()))
    assert newest.values.tolist() == [[253_402_300_799_999]]


def test_minus_zero_stays_what_it_is() -> None:
    store = SeriesStore()
    store.append("t", Layout((A,)), 1000, row(-0.0))
    assert np.signbit(everything(store, 1)["a"])
    assert as_vector(PromqlEngine(store).instant("1 / a", 1)).samples[0].value == -np.inf


def test_a_source_that_flips_between_two_wide_layouts_evicts_none_of_its_own() -> None:
    """Both fit; a third one pushes the older of them out, never the current one."""
    store = SeriesStore(limits=StoreLimits(max_columns_per_source=25))
    wide = [Layout(tuple(Series("w", (("n", f"{n}-{i}"),)) for i in range(10))) for n in range(3)]
    for n in range(10):
        store.append("t", wide[n % 2], 1000 * (n + 1), np.arange(10.0))
    assert store.stats().layouts_evicted == 0
    store.append("t", wide[2], 11_000, np.arange(10.0))
    assert store.stats().layouts_evicted == 1
    assert as_vector(PromqlEngine(store).instant("count(count_over_time(w[1m]))", 11)).samples[0].value == 20


def test_a_layout_beyond_every_limit_costs_the_others_nothing() -> None:
    store = SeriesStore(limits=StoreLimits(max_series=30, max_series_per_source=20, max_columns_per_source=50))
    store.append("other", Layout((A,)), 1000, row(1))
    for n in range(20):
        series = tuple(Series("w", (("n", f"{n}-{i}"),)) for i in range(100))
        store.append("t", Layout(series), 1000 * (n + 1), np.arange(100.0))
        stats = store.stats()
        assert stats.series <= 21
        assert stats.blocks <= 3
    store.append("third", Layout((A, B)), 30_000, row(2, 3))
    assert everything(store, 30)["a"] == 2
    assert stats.series_dropped >= 20 * 80 - 20
