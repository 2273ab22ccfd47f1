"""One thread appends, one tidies, others read: nobody waits for luck, or sees a sample twice or not at all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.series.series_store import BLOCK_COST, SeriesStore, StoreLimits
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder
from tests.fakes import series_model

START = 1_700_000_000_000
ROWS = 1500
STEP = 60_000


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Crew:
    """Runs jobs in threads until the first of them, the appending one, is done; the first exception ends all."""

    def __init__(self) -> None:
        self.done, self.failed = threading.Event(), list[BaseException]()
        self.rounds: dict[str, int] = {}

    def run(self, append: Callable[[], None], **jobs: Callable[[], object]) -> None:
        threads = [threading.Thread(target=self._loop, args=job) for job in jobs.items()]
        for thread in threads:
            thread.start()
        try:
            append()
        finally:
            self.done.set()
            for thread in threads:
                thread.join()
        if self.failed:
            raise self.failed[0]

    def _loop(self, name: str, job: Callable[[], None]) -> None:
        try:
            # One round more when all is written: what the appending thread left behind must be right too.
            while not self.failed:
                last = self.done.is_set()
                job()
                self.rounds[name] = self.rounds.get(name, 0) + 1
                if last:
                    return
        except BaseException as error:  # noqa: BLE001 (a thread's failure is the test's)
            self.failed.append(error)


@pytest.mark.parametrize("durable", [True, False])
def test_readers_beside_appending_packing_and_dropping(durable: bool, tmp_path: Path) -> None:
    kept_s = 6 * 3600.0
    store = SeriesStore.in_folder(tmp_path, kept_s, None, kept_s) if durable else SeriesStore(kept_s, None, kept_s)
    tidy, crew = Tidy(store), Crew()
    steady = Series("steady", ())
    layouts = [Layout((steady, Series(f"other{n}", ()))) for n in range(3)]
    now = [START]

    def append() -> None:
        for row in range(1, ROWS + 1):
            at = START + row * STEP
            # The layout changes now and then, so that blocks end while they are read and packed.
            layout = layouts[row // 97 % 3]
            store.append("t", layout, at, np.array([float(row), 0.0]))
            store.append("calm", layouts[0], at + 1, np.array([-1.0, float(row)]))
            now[0] = at
            if crew.failed:
                return

    def read() -> None:
        until = now[0]
        window = (until - 3 * 3_600_000, until)
        found = series_model.read(store, "steady", *window)
        # What was past its retention before the read ended may have gone under it.
        kept = max(window[0], now[0] + 2 * STEP - round(kept_s * 1000))
        for samples in found.values():
            mine = [(at, value) for at, value in samples if value >= 0 and at > kept]
            rows = [(at - START) // STEP for at, _ in mine]
            assert rows == list(range(max(1, (kept - START) // STEP + 1), (until - START) // STEP + 1))
            assert [value for _, value in mine] == rows

    def look() -> None:
        until = now[0]
        if until > START:
            (found,) = series_model.newest(store, "steady", [(until - 300_000, until)])
            assert len(found) == 1 or now[0] + 2 * STEP - round(kept_s * 1000) > until, (until, now[0])
            store.series_in(series_model.EVERYTHING, until - 600_000, until)
            store.stats()

    def tidy_up() -> None:
        tidy.turn(now[0])

    crew.run(append, read=read, look=look, tidy=tidy_up)
    assert all(crew.rounds[name] > 1 for name in ("read", "look", "tidy")), crew.rounds
    oldest = store.stats().oldest_ms
    assert oldest is not None
    assert oldest > START + STEP
    if isinstance(store.space, Folder):
        assert store.space.paused == ""
        assert len(list(tmp_path.glob("*.raw"))) >= 1
        store.space.close()


def test_evictions_beside_packing_and_syncing(tmp_path: Path) -> None:
    """A target that changes its labels at every scrape: the appending thread deletes files that tidying looks at."""
    store = SeriesStore.in_folder(tmp_path, 1e6, StoreLimits(max_columns_per_source=60), 1e6)
    tidy, crew = Tidy(store, max_bytes=6 << 20), Crew()
    now = [START]

    def append() -> None:
        for row in range(1, ROWS):
            now[0] = START + row * 600_000
            layout = Layout(tuple(Series("churn", (("id", f"{row // 2}-{n}"),)) for n in range(10)))
            store.append("t", layout, now[0], np.full(10, float(row)))
            if crew.failed:
                return

    def read() -> None:
        series_model.read(store, "churn", now[0] - 3_600_000, now[0])
        store.stats()

    crew.run(append, read=read, tidy=lambda: tidy.turn(now[0]) and None)
    stats = store.stats()
    assert stats.blocks <= 6
    assert stats.series == stats.blocks * 10
    space = store.space
    assert isinstance(space, Folder)
    assert space.paused == ""
    held = [c for source in store.sources.values() for b in source.blocks.values() for c in b.chunks]
    assert space.nbytes == sum(chunk.nbytes for chunk in held)
    space.close()
    again = SeriesStore.in_folder(tmp_path, 1e6, None, 1e6)
    assert again.stats().series == stats.series
    assert isinstance(again.space, Folder)
    again.space.close()


def test_a_source_whose_rows_all_expire_while_it_writes(tmp_path: Path) -> None:
    """Expiry with a clock that is ahead takes every row as soon as it is there; the source goes on regardless."""
    store, crew = SeriesStore.in_folder(tmp_path, 1.0, None, 1.0), Crew()
    layouts = [Layout((Series("a", ()),)), Layout((Series("b", ()),))]

    def append() -> None:
        for row in range(1, 2 * ROWS):
            store.append("t", layouts[row // 5 % 2], START + row, np.array([float(row)]))

    crew.run(append, expire=lambda: store.expire(START + 10**9), stats=lambda: store.stats())
    store.append("t", layouts[0], START + 10 * ROWS, np.array([7.0]))
    (found,) = series_model.newest(store, "a", [(0, START + 20 * ROWS)])
    assert list(found.values()) == [(START + 10 * ROWS, 7.0)]
    store.expire(START + 10**9)
    stats = store.stats()
    assert (stats.series, stats.sources, stats.bytes) == (0, 0, 0)
    assert isinstance(store.space, Folder)
    assert store.space.paused == ""
    store.space.close()


def test_an_expiry_of_many_layouts_leaves_the_lock_to_others_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SeriesStore(retention_s=1.0)
    for n in range(25):
        store.append(f"t{n % 3}", Layout((Series("m", (("n", str(n)),)),)), 1000 + n, np.ones(1))
    held: list[int] = []

    def others(_seconds: float) -> None:
        def add() -> None:
            with store._lock:
                held.append(len(store.table))

        thread = threading.Thread(target=add)
        thread.start()
        thread.join(timeout=30)

    monkeypatch.setattr("controlplane.metrics.series.series_store.SLICE_COST", 10 * (BLOCK_COST + 1))
    monkeypatch.setattr("controlplane.metrics.series.series_store.time.sleep", others)
    store.expire(1_000_000)
    assert (held, len(store.table), store.sources) == ([15, 5], 0, {})
