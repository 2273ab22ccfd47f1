"""A second reader over the files of a store that another one writes: every step is seen at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import FloatArray, Layout, Metadata, Series, View
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.series.series_store import SeriesStore, StoreLimits
from controlplane.metrics.series.tidy import REWRITE_BYTES, Tidy
from controlplane.metrics.storage.chunk import PackedChunk
from controlplane.metrics.storage.errors import Overtaken, StorageError
from controlplane.metrics.storage.folder import Folder
from tests.unit.controlplane.metrics.answers import as_matrix, as_vector

A, B = Series("a", (("job", "x"),)), Series("b", (("job", "x"),))
MINUTE = 60_000


def row(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float64)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SeriesStore]:
    store = SeriesStore.in_folder(tmp_path, 3600.0, StoreLimits(max_columns_per_source=4), 7200.0)
    yield store
    space = store.space
    assert isinstance(space, Folder)
    space.close()


@pytest.fixture
def follower(store: SeriesStore, tmp_path: Path) -> Iterator[Follower]:
    follower = Follower(tmp_path)
    yield follower
    follower.close()


def seen(store: SeriesStore | Follower, expr: str, at: float) -> dict[str, list[float]]:
    value = PromqlEngine(store).instant(expr, at)
    return {dict(s.labels)["__name__"]: s.values.tolist() for s in as_matrix(value).series}


def test_rows_are_seen_as_they_are_written(store: SeriesStore, follower: Follower) -> None:
    layout = Layout((A,), (View(Series("half", ()), (0,), 0.5),), {"a": Metadata("gauge", "an A")})
    for n in range(1, 300):
        store.append("t", layout, n * 1000, row(n))
        if n % 50 == 0:
            assert seen(follower, '{__name__=~"a|half"}[3s]', n) == {
                "a": [n - 2, n - 1, n],
                "half": [n / 2 - 1, n / 2 - 0.5, n / 2],
            }
    assert follower.metadata() == store.metadata()
    assert follower.series_in([], 0, 10**9) == store.series_in([], 0, 10**9)


def test_a_change_of_layout_and_the_end_of_a_source_are_seen(store: SeriesStore, follower: Follower) -> None:
    both, one = Layout((A, B)), Layout((B,))
    store.append("t", both, 1000, row(1, 2))
    assert seen(follower, '{job="x"}[1m]', 1) == {"a": [1], "b": [2]}
    store.append("t", one, 2000, row(3))
    assert as_vector(PromqlEngine(follower).instant("a", 2)).samples == []
    assert seen(follower, '{job="x"}[1m]', 2) == {"a": [1], "b": [2, 3]}
    store.end("t", 3000)
    assert as_vector(PromqlEngine(follower).instant('{job="x"}', 3)).samples == []
    store.append("t", both, 4000, row(5, 6))
    assert seen(follower, '{job="x"}[1m]', 4) == {"a": [1, 5], "b": [2, 3, 6]}


def test_staleness_markers_within_a_row_are_left_out(store: SeriesStore, follower: Follower) -> None:
    marker = np.array([0x7FF0000000000002], dtype=np.int64).view(np.float64)
    layout = Layout((A,))
    for n, values in enumerate((row(1), marker, row(3)), 1):
        store.append("write:1", layout, n * 1000, values)
    assert seen(follower, "a[1m]", 3) == {"a": [1, 3]}
    assert as_vector(PromqlEngine(follower).instant("a", 2)).samples == []


def test_packed_chunks_take_the_place_of_the_others(store: SeriesStore, follower: Follower, tmp_path: Path) -> None:
    layout, tidy = Layout((A,)), Tidy(store)
    for n in range(400):
        store.append("t", layout, n * 1000, row(n))
    assert len(seen(follower, "a[1h]", 400)["a"]) == 400
    assert tidy.turn(400_000 + 10 * MINUTE).packed == 7
    assert seen(follower, "a[1h]", 400) == {"a": [float(n) for n in range(400)]}
    (first, *_) = follower.table.blocks[1].chunks
    assert isinstance(first, PackedChunk) and first.file == 1
    # A follower that starts now finds the arenas of packed chunks gone.
    late = Follower(tmp_path)
    assert seen(late, "a[1h]", 400) == seen(follower, "a[1h]", 400)
    late.close()


def test_what_expires_or_is_evicted_is_gone_here_too(store: SeriesStore, follower: Follower) -> None:
    tidy = Tidy(store)
    store.append("t", Layout((A,)), 1000, row(1))
    store.append("rule:g:r", Layout((B,)), 1000, row(2))
    tidy.turn(1000 + 90 * MINUTE)
    assert seen(follower, '{job="x"}[1d]', 2) == {"b": [2]}
    for n in range(8):
        store.append("churn", Layout((Series("c", (("n", str(n)),)),)), 2000 + n, row(n))
    count = as_vector(PromqlEngine(follower).instant("count(count_over_time(c[1d]))", 100)).samples[0].value
    assert count == as_vector(PromqlEngine(store).instant("count(count_over_time(c[1d]))", 100)).samples[0].value
    assert count <= 4
    assert len(follower.table) == len(store.table)


def test_a_rewritten_journal_is_followed_into_its_next_file(
    store: SeriesStore, follower: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REWRITE_BYTES > 0
    monkeypatch.setattr("controlplane.metrics.series.tidy.REWRITE_BYTES", 1)
    layout, tidy = Layout((A, B)), Tidy(store)
    for n in range(40):  # layouts that are soon evicted: the journal is mostly of things past
        store.append("churn", Layout((Series("e", (("n", str(n)),)),)), 1000 + n, row(n))
    for n in range(200):
        store.append("t", layout, n * 1000, row(n, -n))
    store.append("other", Layout((Series("c", ()),)), 1000, row(1))
    tidy.turn(200_000)
    assert [path.name for path in tmp_path.glob("journal.*")] == ["journal.2"]
    store.append("t", layout, 200_000, row(200, -200))
    store.append("later", Layout((Series("d", ()),)), 200_000, row(9))
    assert seen(follower, '{__name__=~"a|d"}[2s]', 200) == {"a": [199, 200], "d": [9]}
    late = Follower(tmp_path)
    assert late.series_in([], 0, 10**9) == follower.series_in([], 0, 10**9) == store.series_in([], 0, 10**9)
    late.close()


def test_who_missed_two_rewrites_of_the_journal_is_told_to_begin_anew(
    store: SeriesStore, follower: Follower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.metrics.series.tidy.REWRITE_BYTES", 1)
    tidy = Tidy(store)
    for rewrites in (1, 2):
        for n in range(40):
            store.append("churn", Layout((Series("e", (("n", str(n)),)),)), rewrites * 1000 + n, row(n))
        tidy.turn(200_000 * rewrites)
    assert [path.name for path in tmp_path.glob("journal.*")] == ["journal.3"]
    for _ in range(2):
        with pytest.raises(Overtaken, match="journal 2 of the metrics is gone already"):
            seen(follower, "e", 3)
    late = Follower(tmp_path)
    assert late.series_in([], 0, 10**9) == store.series_in([], 0, 10**9)
    late.close()


def test_what_is_listed_is_as_new_as_what_is_read(store: SeriesStore, follower: Follower) -> None:
    store.append("t", Layout((A,)), 1000, row(1))
    assert follower.series_in([], 0, 10_000) == store.series_in([], 0, 10_000) != []


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no journal of metrics"):
        Follower(tmp_path)
