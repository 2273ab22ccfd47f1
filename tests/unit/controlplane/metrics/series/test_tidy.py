"""Files on disk after hours and days of maintenance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.exposition.parser import parse
from collectors.samples import Layout, Series
from controlplane.metrics.series import tidy as tidying
from controlplane.metrics.series.series_store import SeriesStore, StoreLimits
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.folder import FILE_MS, Folder
from tests.fakes import series_model

START = 1_700_000_000_000
HOUR = 3_600_000
A, B = Layout((Series("a", ()),)), Layout((Series("b", ()), Series("c", ())))


class Days:
    """A store whose targets are scraped every 15 s, and which is tidied once a minute."""

    def __init__(self, folder: Path, kept_s: float, recorded_s: float, max_bytes: int = 0) -> None:
        self.args = folder, kept_s, None, recorded_s
        self.max_bytes = max_bytes
        self.now, self.random = START, np.random.default_rng(1)
        self.open()

    def open(self) -> None:
        self.store = SeriesStore.in_folder(*self.args)
        self.tidy = Tidy(self.store, self.max_bytes)

    @property
    def folder(self) -> Folder:
        assert isinstance(self.store.space, Folder)
        return self.store.space

    def go_on(self, hours: float, sources: dict[str, Layout], *, noisy: bool = False) -> None:
        for _ in range(round(hours * 60)):
            for _ in range(4):
                self.now += 15_000
                for n, (source, layout) in enumerate(sources.items()):
                    columns = len(layout.raw)
                    values = self.random.normal(size=columns) if noisy else np.arange(columns) + self.now // 15_000
                    self.store.append(source, layout, self.now + n, values.astype(np.float64))
            self.tidy.turn(self.now)

    def span(self, name: str) -> tuple[float, float]:
        """Return how many hours ago the first and the last sample of a series lie."""
        ((_, samples),) = series_model.read(self.store, name, -1, 1 << 45).items()
        return round((self.now - samples[0][0]) / HOUR, 2), round((self.now - samples[-1][0]) / HOUR, 2)

    def disk(self) -> int:
        return sum(path.stat().st_blocks * 512 for path in self.args[0].iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def opened() -> Iterator[list[Days]]:
    made: list[Days] = []
    yield made
    for days in made:
        days.folder.close()


def wide(columns: int, name: str = "w") -> Layout:
    return Layout(tuple(Series(name, (("n", str(n)),)) for n in range(columns)))


def test_full_chunks_are_packed_once_they_are_six_minutes_old(folder: Path, opened: list[Days]) -> None:
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    days.go_on(1, {"t": A})
    chunks = [c for block in days.store.sources["t"].blocks.values() for c in block.chunks]
    # Of 240 rows the chunks of 8, 32 and 64 that are older than six minutes are packed.
    assert [(type(c), c.count) for c in chunks] == [
        (PackedChunk, 8),
        (PackedChunk, 32),
        (PackedChunk, 64),
        (PackedChunk, 64),
        (Chunk, 64),
        (Chunk, 8),
    ]
    assert days.span("a") == (1, 0)


def test_a_layout_that_got_no_row_for_ten_minutes_gives_its_arena_back(folder: Path, opened: list[Days]) -> None:
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    days.go_on(0.1, {"t": A})
    days.go_on(0.25, {"t": B})
    (old, _) = days.store.sources["t"].blocks.values()
    assert all(isinstance(c, PackedChunk) for c in old.chunks)
    days.store.end("t", days.now + 1)
    days.now += 3 * HOUR
    days.tidy.turn(days.now)
    assert days.folder.arenas.nbytes == 0
    assert days.span("b")[1] == 3


def test_scraped_and_recorded_samples_go_when_their_time_is_over(folder: Path, opened: list[Days]) -> None:
    days = Days(folder, 3 * 3600.0, 9 * 3600.0)
    opened.append(days)
    used = []
    for _ in range(7):
        days.go_on(2, {"t": wide(40), "rule:r": A})
        used.append(days.disk())
    first, last = days.span("a")
    assert 9 <= first <= 9 + 0.54
    assert last == 0
    oldest = min(c.first_ms for c in next(iter(days.store.sources["t"].blocks.values())).chunks)
    assert 3 <= (days.now - oldest) / HOUR <= 3.54
    kinds = {path.suffix for path in folder.iterdir()}
    assert {".raw", ".rec", ".arena"} <= kinds
    assert used[-1] < used[1] * 1.5, used
    assert len(list(folder.glob("*.raw"))) <= 4
    days.folder.close()
    days.open()
    assert days.span("a") == (first, last)


def test_the_oldest_scraped_samples_go_first_where_the_size_is_limited(
    folder: Path, opened: list[Days], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILE_MS, False, HOUR)
    limit = 10 << 20
    days = Days(folder, 86_400, 86_400, limit)
    opened.append(days)
    for _ in range(6):
        days.go_on(1, {"t": wide(300), "rule:r": A}, noisy=True)
        assert days.folder.disk_bytes <= limit
        assert days.disk() <= limit + (1 << 20)
    assert days.span("a")[0] == 6
    oldest = min(c.first_ms for c in next(iter(days.store.sources["t"].blocks.values())).chunks)
    assert (days.now - oldest) / HOUR < 5
    assert "the size limit is reached; the oldest samples are dropped (" in caplog.text
    before = days.folder.disk_bytes
    days.max_bytes = 1
    days.tidy = Tidy(days.store, 1)
    days.tidy.turn(days.now)
    assert days.folder.disk_bytes < before
    assert not [path for path in folder.iterdir() if path.suffix in (".raw", ".rec")]


def test_a_file_without_chunks_does_not_hold_the_size_limit_up(folder: Path, opened: list[Days]) -> None:
    """Were the accounts ever wrong, tidying must end all the same."""
    days = Days(folder, 86_400, 86_400, 1)
    opened.append(days)
    days.tidy = Tidy(days.store)
    days.go_on(1, {"t": A})
    (file,) = days.folder.files.values()
    file.live += 1
    Tidy(days.store, 1).turn(days.now)
    assert days.folder.files == {file.number: file}


def test_arenas_are_deleted_when_what_they_hold_is_packed(folder: Path, opened: list[Days]) -> None:
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    most = 0
    for _ in range(6):
        days.go_on(0.5, {f"t{n}": wide(300, f"w{n}") for n in range(8)})
        most = max(most, days.folder.arenas.reserved)
    in_use = sum(c.nbytes for s in days.store.sources.values() for b in s.blocks.values() for c in b.chunks)
    assert days.folder.nbytes == in_use
    assert days.folder.arenas.reserved <= 24 << 20
    assert most <= 28 << 20
    on_disk = {path.name for path in folder.glob("*.arena")}
    spare = days.folder.arenas.spare
    named = {a.path.name for a in [*days.folder.arenas.used.values(), *([spare] if spare else [])] if a.path}
    assert on_disk == named


def test_a_journal_that_grew_is_rewritten_with_all_that_holds(
    folder: Path, opened: list[Days], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "REWRITE_BYTES", 5_000)
    days = Days(folder, 1800.0, 1800.0)
    opened.append(days)
    names, longest = set(), 0
    for n in range(60):
        days.go_on(0.1, {"t": wide(30, f"w{n % 50}"), "u": A})
        names.add(days.folder.journal.path.name if days.folder.journal else "")
        longest = max(longest, days.folder.journal.end if days.folder.journal else 0)
    assert len(names) > 1
    assert longest < 12_000
    before = series_model.read(days.store, "", -1, 1 << 45)
    days.folder.close()
    days.open()
    assert series_model.read(days.store, "", -1, 1 << 45) == before


def test_a_journal_of_many_chunks_is_not_rewritten_at_every_turn(
    folder: Path, opened: list[Days], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of it says where chunks lie, and that is needed."""
    monkeypatch.setattr(tidying, "REWRITE_BYTES", 1)
    rewrites: list[int] = []
    days = Days(folder, 86_400, 86_400)
    monkeypatch.setattr(tidying, "rewrite", lambda *_: rewrites.append(days.now))
    opened.append(days)
    days.go_on(8, {"t": A})
    assert rewrites == []


def test_a_rewrite_that_fails_pauses_nothing_and_is_not_tried_at_every_turn(
    folder: Path, opened: list[Days], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tidying, "REWRITE_BYTES", 1)
    monkeypatch.setattr(tidying, "RECORD_BYTES", 0)
    tries = []

    def fail(*_: object) -> None:
        tries.append(days.now)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tidying, "rewrite", fail)
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    days.go_on(1, {"t": A})
    assert 3 <= len(tries) <= 6
    assert days.folder.paused == ""
    assert "journal.1 cannot be rewritten shorter ([Errno 28] No space left on device)" in caplog.text


def test_all_is_brought_to_the_disk_every_fifteen_seconds(
    folder: Path, opened: list[Days], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    days.go_on(0.1, {"t": A})
    synced, real = list[str](), os.fdatasync

    def fdatasync(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        real(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    for seconds in (1, 14, 15, 16, 30, -100):
        del synced[:]
        days.tidy.turn(days.now + seconds * 1000)
        names = sorted(Path(name).name for name in synced)
        assert names == ([] if seconds in (1, 14, 16) else ["00000001.arena", "journal.1"]), seconds


def test_the_next_arena_is_made_before_it_is_needed(folder: Path, opened: list[Days]) -> None:
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    days.go_on(0.25, {"t": wide(300)})
    assert days.folder.arenas.spare is None
    days.go_on(0.25, {f"t{n}": wide(300, f"w{n}") for n in range(16)})
    assert days.folder.arenas.spare is not None
    spare = days.folder.arenas.spare.path
    days.folder.close()
    assert spare is not None
    assert not spare.exists()
    days.open()


def test_three_hundred_targets_of_a_day_take_less_than_one_and_a_half_gigabytes(fixtures: Path, tmp_path: Path) -> None:
    """Reckoned from one target of the vLLM capture over three hours, with its values moving as under load.

    What is packed grows with targets and hours: a day of 300 takes 300 * 24 / h times the pack files of h packed hours.
    What is not packed yet grows with targets only: at most two chunks each (one full one that waits, one being
    written), in arenas that are a quarter larger, a spare one, and four times the largest arena for what is
    fragmented. The journal takes 80 bytes a chunk.
    """
    parsed = parse((fixtures / "vllm-0.32-llm.prom").read_bytes())
    layout = Layout(tuple(parsed.series))
    columns, random = len(layout.raw), np.random.default_rng(5)
    names = [series.name for series in layout.raw]
    counts = np.array([name.endswith(("_total", "_count", "_bucket")) for name in names])
    sums = np.array([name.endswith("_sum") for name in names])
    values = np.array(parsed.values, dtype=np.float64)
    store = SeriesStore.in_folder(tmp_path, 86_400, StoreLimits(), 86_400)
    tidy, now = Tidy(store), START
    for row in range(3 * 240):
        now += 15_000
        values = values + random.poisson(3.0, columns) * counts + random.exponential(0.4, columns) * sums
        store.append("t", layout, now, values)
        if row % 4 == 0:
            tidy.turn(now)
    chunks = [c for block in store.sources["t"].blocks.values() for c in block.chunks]
    packed = [c for c in chunks if isinstance(c, PackedChunk)]
    rows = sum(c.count for c in packed)
    assert rows > 500
    space = store.space
    assert isinstance(space, Folder)
    on_disk = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.raw"))
    day = 300 * on_disk * 5760 / rows
    waiting = 300 * 2 * 8 * (2 + columns) * 64 * 1.25 + 5 * (64 << 20)
    journal = 300 * 80 * 5760 / 64 * 2
    space.close()
    assert sum(c.nbytes for c in packed) / (rows * columns) < 1.5
    assert day + waiting + journal < 1.5e9, (day, waiting, journal)


def test_a_day_that_is_packed_at_once_is_a_file_for_every_two_hours(folder: Path, opened: list[Days]) -> None:
    days = Days(folder, 2 * 86_400, 2 * 86_400)
    opened.append(days)
    for source in range(20):  # one after another, as packing reads them
        for minute in range(0, 24 * 60, 2):
            days.store.append(f"t{source}", A, START + minute * 60_000, np.array([float(minute)]))
    days.now = START + 24 * HOUR
    for _ in range(30):
        days.now += 60_000
        days.tidy.turn(days.now)
    assert not list(folder.glob("*.rec"))
    assert len(list(folder.glob("*.raw"))) <= 13


def test_a_file_is_finished_some_turns_after_its_last_chunk_and_never_changes_again(
    folder: Path, opened: list[Days]
) -> None:
    days = Days(folder, 86_400, 86_400)
    opened.append(days)
    days.go_on(4.5, {"t": A, "u": B})
    first, *_ = sorted(folder.glob("*.raw"))
    before = first.read_bytes()
    assert len(before) < 64 * 1024  # cut to what it holds
    days.go_on(3, {"t": A, "u": B})
    assert first.read_bytes() == before
    assert len(list(folder.glob("*.raw"))) <= 5
