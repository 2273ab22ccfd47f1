"""Stores run through random timelines and agree with a model, even if they were closed or killed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from collectors.exposition import packed_series
from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import packed
from collectors.samples import Labels, Layout, Series, View
from controlplane.metrics.series import shape_index
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.store_reader import StoreReader
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder
from tests.fakes import series_model
from tests.fakes.series_model import STALE, Model

START = 1_700_000_000_000
HOUR = 3_600_000
KEPT_S, KEPT_RECORDED_S = 6 * 3600.0, 24 * 3600.0
SOURCES = ("t0", "t1", "t2", "rule:r")
NAMES = ("", "m0", "m1", "m4", "view", "sum", "shared", "nothing")
VALUES = [0.0, -0.0, 1.0, 2.5, 1e300, np.inf, -np.inf, np.nan, 5e-324, 2.0**53 + 2, -7.0]


def layouts_of(source: str) -> list[Layout]:
    """Return layouts that overlap, one of them of no columns, and one with views."""
    series = [Series(f"m{n}", (("source", source),)) for n in range(6)]
    view = View(Series("view", (("source", source),)), (1,), 0.001)
    total = View(Series("sum", (("source", source),)), (0, 2), 2.0)
    plain = View(Series("same", (("source", source),)), (2,))
    wide = tuple(Series("wide", (("n", str(n)), ("source", source))) for n in range(33))
    return [
        Layout(tuple(series[:3])),
        Layout(tuple(series[1:5]), (view, total)),
        Layout((series[5], series[0], Series("shared", ())), (total, plain, view)),
        Layout(tuple(series) + wide),
        Layout((series[0], series[0])),
        Layout(()),
    ]


class Timeline:
    """One store and its model. Every source has times of its own, so that no two samples of a series coincide."""

    def __init__(self, seed: int, folder: Path | None, steps: int = 0, *, pack: bool = False) -> None:
        """`steps` is how often the clock is set, beside sixty scrapes. `pack` packs the layouts."""
        self.random, self.steps = random.Random(seed), steps
        self.latest = START
        self.model, self.folder, self.generation = Model(), folder, 0
        self.layouts = {source: layouts_of(source) for source in SOURCES}
        if pack:
            interner = Interner()
            self.layouts = {s: [packed(layout, interner) for layout in some] for s, some in self.layouts.items()}
        self.now, self.turned = START, START
        self.store = self.opened()
        self.tidy = Tidy(self.store)
        self.follower: Follower | None = None

    def opened(self) -> SeriesStore:
        if self.folder is None:
            return SeriesStore(KEPT_S, None, KEPT_RECORDED_S)
        return SeriesStore.in_folder(self.folder, KEPT_S, None, KEPT_RECORDED_S)

    def close(self) -> None:
        if self.follower is not None:
            self.follower.close()
            self.follower = None
        if isinstance(self.store.space, Folder):
            self.store.space.close()

    # -- what happens ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        happens = self.random.choices(
            (
                self.scrape,
                self.end,
                self.late,
                self.tidy_up,
                self.wait,
                self.reopen,
                self.crash,
                self.follow,
                self.set_clock,
            ),
            (60, 6, 3, 12, 8, 2, 3, 3, self.steps),
        )[0]
        happens()

    def at(self, source: str) -> int:
        return self.now + SOURCES.index(source)

    def scrape(self) -> None:
        source = self.random.choice(SOURCES)
        layout = self.random.choice(self.layouts[source])
        if self.random.random() < 0.3:
            layout = Layout(layout.raw, layout.views)
        for _ in range(self.random.choice((1, 1, 2, 9, 9, 30, 150))):
            self.now += self.random.choice((4, 1000, 15_000))
            values = self.random.choices(VALUES, k=len(layout.raw))
            if values and self.random.random() < 0.05:
                values[self.random.randrange(len(values))] = STALE
            self.model.append(source, layout, self.at(source), values)
            self.store.append(source, layout, self.at(source), np.array(values, dtype=np.float64))

    def end(self) -> None:
        self.now += 1000
        source = self.random.choice(SOURCES)
        self.model.end(source, self.at(source))
        self.store.end(source, self.at(source))

    def late(self) -> None:
        """A row comes that is older than the source's last one, or of the same time."""
        source = self.random.choice(SOURCES)
        last = self.store.newest_ms(source)
        if last is not None:
            layout = self.layouts[source][0]
            self.store.append(source, layout, last - self.random.choice((0, 4000)), np.zeros(len(layout.raw)))

    def wait(self) -> None:
        self.now += self.random.choice((60_000, 11 * 60_000, HOUR, 3 * HOUR))

    def tidy_up(self) -> None:
        self.now += 4
        self.turned = max(self.turned, self.now)
        self.tidy.turn(self.now)

    def reopen(self) -> None:
        """The process ends in order, and starts again."""
        if self.folder is not None:
            self.close()
            self.store = self.opened()
            self.tidy = Tidy(self.store)
            self.model.reopened()

    def crash(self) -> None:
        """The process dies here: what is in the files now is what the next one finds."""
        if self.folder is not None:
            self.generation += 1
            there = self.folder.with_name(f"store-{self.generation}")
            shutil.copytree(self.folder, there)
            self.close()
            shutil.rmtree(self.folder)
            self.folder = there
            self.store = self.opened()
            self.tidy = Tidy(self.store)
            self.model.reopened()

    def set_clock(self) -> None:
        self.latest = max(self.latest, self.now)
        self.now += self.random.choice((-1, 1)) * self.random.choice((1000, 30_000, 300_000, HOUR))
        hide = self.random.choice((0, 300_000))
        self.model.set_clock(self.now, hide)
        self.store.begin_era(self.now, hide)

    def follow(self) -> None:
        if self.folder is not None and self.follower is None:
            self.follower = Follower(self.folder)

    # -- what it must say ------------------------------------------------------------------------------------------

    def check(self) -> None:
        self.latest = max(self.latest, self.now)
        oldest = (self.latest if self.folder is None else self.turned) - round(KEPT_S * 1000)
        windows = [self.window(oldest) for _ in range(2)]
        readers: list[StoreReader] = [self.store, *([self.follower] if self.follower else [])]
        name = self.random.choice(NAMES)
        for reader in readers:
            for after, until in windows:
                agree(series_model.read(reader, name, after, until), self.model.read(name, after, until))
            newest = series_model.newest(reader, name, windows)
            for got, (after, until) in zip(newest, windows, strict=True):
                agree_newest(got, self.model.newest(name, after, until))
            after, until = windows[0]
            assert reader.series_in(series_model.EVERYTHING, after + 1, until) == self.model.series_in(after + 1, until)

    def check_everything(self) -> None:
        """Older than its retention a sample may be there or not, but not be another."""
        everything = series_model.read(self.store, "", -1, self.latest + HOUR)
        whole = self.model.read("", -1, self.latest + HOUR)
        for labels, samples in everything.items():
            known = dict(whole[labels])
            assert all(t in known and series_model.same(v, known[t]) for t, v in samples), labels

    def window(self, oldest: int) -> tuple[int, int]:
        """Return a window of the time that is kept for sure; sometimes of one sample, sometimes of all."""
        kind = self.random.randrange(12) % 11
        if kind == 0:
            return oldest, self.latest + HOUR
        if kind < 5:
            at = self.random.randint(oldest, self.now)
            return at, min(self.now, at + self.random.choice((1, 1000, 300_000)))
        if kind < 9:
            return max(oldest, self.now - 300_000), self.now + 3
        first, last = sorted(self.random.randint(oldest, self.now + 10) for _ in range(2))
        return first, last


def agree(got: dict[Labels, list[tuple[int, float]]], expected: dict[Labels, list[tuple[int, float]]]) -> None:
    assert {k: [t for t, _ in v] for k, v in got.items()} == {k: [t for t, _ in v] for k, v in expected.items()}
    for labels, samples in got.items():
        for (at, value), (_, wanted) in zip(samples, expected[labels], strict=True):
            assert series_model.same(value, wanted), (labels, at)


def agree_newest(got: dict[Labels, tuple[int, float]], expected: dict[Labels, tuple[int, float]]) -> None:
    agree({k: [v] for k, v in got.items()}, {k: [v] for k, v in expected.items()})


@pytest.mark.parametrize(("seed", "steps"), [*((n, 0) for n in range(12)), *((n, 6) for n in range(12, 20))])
def test_a_store_in_files_says_what_the_model_says(
    seed: int, steps: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timeline = Timeline(seed, tmp_path / "store-0", steps)
    for _ in range(60):
        timeline.step()
        timeline.check()
    timeline.crash()
    timeline.check()
    timeline.check_everything()
    space = timeline.store.space
    assert isinstance(space, Folder)
    assert_accounts_hold(timeline.store, space)
    assert not space.paused
    assert caplog.messages == []
    timeline.close()


@pytest.mark.parametrize(("seed", "steps"), [*((n, 0) for n in range(200, 206)), *((n, 6) for n in range(206, 209))])
def test_sources_that_share_the_shape_of_their_series_say_what_the_model_says(
    seed: int, steps: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_series, "LEAST", 1)
    monkeypatch.setattr(shape_index, "SHARED", seed % 2)
    timeline = Timeline(seed, tmp_path / "store-0", steps, pack=True)
    most = 0
    for _ in range(60):
        timeline.step()
        timeline.check()
        most = max(most, len(timeline.store.table._shapes._anchors))
    timeline.crash()
    timeline.check()
    timeline.check_everything()
    assert most > 0
    assert caplog.messages == []
    timeline.close()


@pytest.mark.parametrize(("seed", "steps"), [*((n, 0) for n in range(100, 104)), *((n, 6) for n in range(104, 107))])
def test_a_store_in_memory_says_what_the_model_says(seed: int, steps: int) -> None:
    timeline = Timeline(seed, None, steps)
    for _ in range(50):
        timeline.step()
        timeline.check()
    timeline.check_everything()


def assert_accounts_hold(store: SeriesStore, space: Folder) -> None:
    """Check that the counters of the space agree with the blocks, and that the folder has no other files."""
    chunks = [c for source in store.sources.values() for block in source.blocks.values() for c in block.chunks]
    in_arenas: dict[int, int] = {}
    in_files: dict[int, int] = {}
    for chunk in chunks:
        if hasattr(chunk, "arena"):
            in_arenas[chunk.arena.number] = in_arenas.get(chunk.arena.number, 0) + 1
        else:
            in_files[chunk.file] = in_files.get(chunk.file, 0) + 1
    assert {n: arena.live for n, arena in space.arenas.used.items() if arena.live} == in_arenas
    assert {n: file.live for n, file in space.files.items()} == in_files
    assert space.nbytes == sum(chunk.nbytes for chunk in chunks)
    assert space.journal is not None
    names = {path.name for path in space.path.iterdir()}
    spare = [space.arenas.spare] if space.arenas.spare else []
    kept = {arena.path.name for arena in [*space.arenas.used.values(), *spare] if arena.path}
    assert names - {"lock"} == kept | {file.path.name for file in space.files.values()} | {space.journal.path.name}
