"""Samples after the clock was set back: the newer era is visible, and no counter seems to reset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.store_reader import StoreReader
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.eras import OPEN_END_MS, Era, Eras
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.write.ingest import Ingest
from controlplane.metrics.write.remote_write_codec import TimeSeries, WriteRequest
from tests.fakes.machine_clock import Machine

START, EVERY = 1_700_000_000, 15
LAYOUT = Layout((Series("total", (("job", "x"),)), Series("gauge", ())))
OTHER = Layout((Series("gauge", ()),))


def ask(store: StoreReader, expr: str, at: float) -> list[float]:
    value = PromqlEngine(store).instant(expr, at)
    assert isinstance(value, Vector)
    return [sample.value for sample in value.samples]


class World:
    """A store that is written every 15 s. The counter counts true seconds, whatever the clock shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = self.opened()
        self.now, self.elapsed = START, 0

    def opened(self) -> SeriesStore:
        return SeriesStore.in_folder(self.folder, 86_400.0, None, 86_400.0)

    def run(self, seconds: int, layout: Layout = LAYOUT, source: str = "t") -> None:
        for _ in range(seconds // EVERY):
            self.now += EVERY
            self.elapsed += EVERY
            row = np.array([self.elapsed, self.now][-len(layout.raw) :], dtype=np.float64)
            self.store.append(source, layout, self.now * 1000, row)

    def set_clock(self, by_s: int, hide_s: int = 300) -> None:
        self.now += by_s
        self.store.begin_era(self.now * 1000, hide_s * 1000 if by_s < 0 else 0)

    def close(self) -> None:
        assert isinstance(self.store.space, Folder)
        if self.store.space.journal is not None:
            self.store.space.close()

    def killed(self) -> None:
        """The process dies here, and another one starts with what is in the files."""
        there = self.folder.with_name(self.folder.name + "x")
        shutil.copytree(self.folder, there)
        self.close()
        self.folder = there
        self.store = self.opened()

    def readers(self) -> Iterator[StoreReader]:
        yield self.store
        follower = Follower(self.folder)
        yield follower
        follower.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "store")
    yield made
    made.close()


@pytest.mark.parametrize("by", [-1, -30, -300, -3600, 1, 30, 300, 3600])
def test_what_is_written_after_a_step_is_stored_and_counters_do_not_reset(world: World, by: int) -> None:
    world.run(7200)
    world.set_clock(by)
    world.run(1200)
    for reader in world.readers():
        assert ask(reader, "total", world.now) == [world.elapsed]
        assert ask(reader, "resets(total[3h])", world.now) == [0]
        assert ask(reader, "rate(total[5m])", world.now) == [1.0]
        assert ask(reader, "gauge", world.now) == [world.now]
    assert world.store.stats().rows_out_of_order == 0


@pytest.mark.parametrize("by", [-300, -3600])
def test_right_after_a_large_step_back_no_rate_counts_the_time_that_is_lived_again(world: World, by: int) -> None:
    world.run(7200)
    world.set_clock(by)
    rates = []
    for _ in range(24):
        world.run(EVERY)
        rates += ask(world.store, "rate(total[5m])", world.now)
    # They grow into their window like those of a series that has just begun.
    assert rates == sorted(rates)
    assert (len(rates), rates[0], rates[-1]) == (23, 0.075, 1.0)


def test_a_clock_that_was_set_back_wrongly_hides_what_it_covered_and_no_more(world: World) -> None:
    world.run(7200)
    right = world.now
    world.set_clock(-3600, hide_s=0)
    assert ask(world.store, "gauge", right) == []  # what lies ahead is not shown as if it were of now
    world.run(600)
    world.set_clock(3600)
    world.run(600)
    rows = (7200 + 600) / EVERY - 1  # of the moment at which it was set there is none
    for reader in world.readers():
        assert ask(reader, "count_over_time(gauge[4h])", world.now) == [rows]
        assert ask(reader, "gauge", right) == [right]
        assert ask(reader, "total", right - 3600 + 600) == [7200 + 600]  # the newer pass, where it was
        assert ask(reader, "total", right - 3600 + 615) == [7200 - 3600 + 615]
    world.killed()
    assert ask(world.store, "count_over_time(gauge[4h])", world.now) == [rows]


def test_what_a_dead_process_wrote_after_a_step_is_there_again(world: World) -> None:
    world.run(3600)
    world.set_clock(-1800)
    world.run(60)
    world.killed()
    assert world.store.last_row_at == world.now
    assert world.store.era == 1
    world.run(900)
    world.store.append("t", LAYOUT, (world.now - 60) * 1000, np.zeros(2))
    assert world.store.stats().rows_out_of_order == 1
    assert ask(world.store, "resets(total[2h])", world.now) == [0]
    assert ask(world.store, "count_over_time(total[20m])", world.now) == [960 / EVERY]
    world.killed()
    assert ask(world.store, "total", world.now) == [world.elapsed]


def test_a_process_that_dies_before_its_first_row_after_a_step_leaves_the_step(world: World) -> None:
    world.run(3600)
    world.set_clock(-1800)
    world.killed()
    assert world.store.last_row_at == world.now - 0.001
    assert ask(world.store, "total", world.now) == []
    world.run(60)
    assert ask(world.store, "total", world.now) == [world.elapsed]


def test_packed_and_rewritten_it_says_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.metrics.series.tidy.REWRITE_BYTES", 1)
    follower = Follower(world.folder)
    world.run(7200)
    world.set_clock(-3600)
    world.run(3000)
    tidy = Tidy(world.store)
    for n in range(200):
        world.store.append("other", Layout((Series("n", (("n", str(n)),)),)), world.now * 1000 + n, np.zeros(1))
    world.store.drop_chunks(next(iter(world.store.sources["other"].blocks.values())), 2**60)
    expected = ask(world.store, "count_over_time(total[3h])", world.now)
    assert expected == [(7200 - 3600 - 300 + 3000) / EVERY - 1]
    assert tidy.turn(world.now * 1000).packed
    assert tidy.turn((world.now + 7200) * 1000).packed
    for reader in (world.store, follower):
        assert ask(reader, "count_over_time(total[3h])", world.now) == expected
    follower.close()
    world.killed()
    assert ask(world.store, "count_over_time(total[3h])", world.now) == expected


@pytest.mark.parametrize("hide_s", [0, 300])
def test_a_target_that_is_down_after_a_step_back_has_no_series_of_before(world: World, hide_s: int) -> None:
    world.run(3600)
    world.set_clock(-1800, hide_s)
    world.now += EVERY
    world.store.end("t", world.now * 1000)
    world.store.end("t", world.now * 1000)
    for reader in world.readers():
        assert ask(reader, "total", world.now) == []
        assert ask(reader, "total", world.now + 1000) == []
    world.run(EVERY)
    assert ask(world.store, "total", world.now) == [world.elapsed]


def test_a_series_that_never_comes_back_is_not_lived_through_again(world: World) -> None:
    world.run(3600)
    world.run(300, OTHER, source="u")
    world.set_clock(-1800)
    for ahead in range(0, 1900, 100):
        assert ask(world.store, "gauge", world.now + ahead) == []
    assert ask(world.store, "count_over_time(gauge[1h])", world.now + 1800) != []


def test_nothing_is_begun_where_nothing_lies_ahead(world: World) -> None:
    assert not world.store.begin_era(0)
    world.run(60)
    assert not world.store.begin_era((world.now + 300) * 1000)
    assert world.store.era == 0
    assert world.store.begin_era(world.now * 1000)


async def test_written_samples_go_on_too_and_repetitions_stay_repetitions(world: World) -> None:
    machine = Machine(START)
    ingest = Ingest(world.store, machine, 86_400.0, 100)
    labels = (("__name__", "w"), ("a", "b"))

    async def write(at: int, value: float) -> tuple[int, int, int]:
        report = await ingest.write(WriteRequest((TimeSeries(labels, ((at * 1000, value),)),), (), 0))
        return report.stored, report.repeated, report.refused.total()

    assert await write(START, 1) == (1, 0, 0)
    assert await write(START, 1) == (0, 1, 0)
    machine.set(-300)
    assert machine.clock.adopt()
    world.store.begin_era(round(machine.now() * 1000), 0)
    assert await write(START - 300, 2) == (1, 0, 0)
    assert await write(START - 300, 2) == (0, 1, 0)
    assert await write(START - 315, 2) == (0, 0, 1)
    assert await write(START - 285, 3) == (1, 0, 0)
    assert ask(world.store, "w", START - 285) == [3]
    assert ask(world.store, "count_over_time(w[10m])", START) == [2]


def stretches(*eras: tuple[int, int, int]) -> Callable[[int], tuple[tuple[int, int], ...]]:
    known = Eras()
    for number, (begins, hides, before) in enumerate(eras, 1):
        known.add(Era(number, begins, hides, before))
    return known.hidden


def test_what_is_hidden_of_each_era() -> None:
    assert stretches()(0) == ()
    assert stretches((100, 90, 200))(0) == ((90, OPEN_END_MS),)
    assert stretches((100, 90, 200))(1) == ()
    back_and_forward = stretches((100, 90, 200), (250, 250, 150))
    assert [back_and_forward(n) for n in range(3)] == [((90, 151), (250, OPEN_END_MS)), ((250, OPEN_END_MS),), ()]
    twice_back = stretches((100, 100, 200), (50, 50, 150))
    assert [twice_back(n) for n in range(3)] == [((50, OPEN_END_MS),), ((50, OPEN_END_MS),), ()]
    nothing_was_lived = stretches((100, 100, 200), (200, 200, 99))
    assert nothing_was_lived(0) == ((200, OPEN_END_MS),)
