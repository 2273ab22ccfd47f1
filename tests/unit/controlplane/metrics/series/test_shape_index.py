"""Lists of series that share a shape have one entry each, and are found like any others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import SeriesList, packed
from collectors.samples import Labels, Layout, Series, View, labels_of
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.series import series_slots, shape_index
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.series.index import accepted_values
from controlplane.metrics.series.layout_series import series_of
from controlplane.metrics.series.matchers import Matcher, MatchOp
from controlplane.metrics.series.plan import ReadPlan
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.series_table import SeriesTable
from controlplane.metrics.series.store_limits import StoreLimits
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.copying import copy_folder
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.storage.records import Description
from tests.fakes import series_model

INTERNER = Interner()
NEVER = 10**9
"""Value of SHARED with which every series has an entry of its own."""

SELECTORS = [
    (),
    (Matcher("__name__", MatchOp.EQUAL, "bucket"),),
    (Matcher("__name__", MatchOp.RE, "bucket|view1"), Matcher("le", MatchOp.EQUAL, "2")),
    (Matcher("pod", MatchOp.EQUAL, "p1"),),
    (Matcher("pod", MatchOp.NOT_EQUAL, "p1"),),
    (Matcher("pod", MatchOp.RE, "p[12]|"), Matcher("__name__", MatchOp.RE, ".*[0-4]")),
    (Matcher("pod", MatchOp.NOT_RE, ".+"),),
    (Matcher("part", MatchOp.EQUAL, ""), Matcher("le", MatchOp.EQUAL, "")),
    (Matcher("part", MatchOp.NOT_EQUAL, ""), Matcher("le", MatchOp.NOT_RE, "1|3")),
    (Matcher("part", MatchOp.EQUAL, "a"), Matcher("pod", MatchOp.RE, "p.*"), Matcher("nobody", MatchOp.EQUAL, "")),
    (Matcher("nobody", MatchOp.EQUAL, "x"),),
    (Matcher("version", MatchOp.NOT_EQUAL, "1"), Matcher("__name__", MatchOp.NOT_EQUAL, "m3")),
]


def page(pod: str, version: str = "1", parts: tuple[str, ...] = ("a",), more: int = 0) -> Layout:
    """Return the layout of a target: a label that all series have, one that some have, and one of many values."""
    whole = {"pod": pod, "version": version}
    raw = [Series("bucket", labels_of({"pod": pod, "le": str(n)})) for n in range(4)]
    raw += [Series(f"m{n}", labels_of(whole)) for n in range(4 + more)]
    raw += [Series("part", labels_of({"pod": pod, "part": part})) for part in parts]
    views = [View(Series(f"view{n}", labels_of({"pod": pod, "le": str(n % 2)})), (n, n + 1), 2.0) for n in range(8)]
    return packed(Layout(tuple(raw), tuple(views)), INTERNER)


def random_page(rng: random.Random) -> Layout:
    parts = rng.choice((("a",), ("a",), ("b",), ("a", "b")))
    layout = page(f"p{rng.randrange(9)}", rng.choice("12"), parts, rng.choice((0, 0, 0, 1)))
    if rng.random() < 0.1:
        layout = Layout(tuple(layout.raw), tuple(layout.views))
    if rng.random() < 0.1:
        layout = packed(Layout((*layout.raw, layout.raw[0]), layout.views), INTERNER)
    return layout


Read = dict[Labels, list[tuple[int, tuple[int, ...], float]]]


def content(plan: ReadPlan) -> Read:
    """Return, for every series of a plan, the (block, columns, factor) of its stretches."""
    found: Read = {}
    for group in plan.everything():
        for part in group.parts:
            sums = dict(part.more)
            for n, member in enumerate(group.members.tolist()):
                columns = sums.get(n, (int(part.first[n]),))
                factor = 1.0 if part.factors is None else float(part.factors[n])
                found.setdefault(plan.labels[member], []).append((part.block.number, columns, factor))
    return {labels: sorted(parts) for labels, parts in found.items()}


def planned(table: SeriesTable, selector: tuple[Matcher, ...]) -> Read:
    return content(table.plan([(m, accepted_values(m, table.label_values(m.name))) for m in selector]))


def alike(table: SeriesTable, other: SeriesTable) -> None:
    """Check that two tables of the same layouts say the same."""
    assert len(table) == len(other)
    for name in ("__name__", "pod", "part", "le", "version", "nobody"):
        assert sorted(table.label_values(name)) == sorted(other.label_values(name))
    for selector in SELECTORS:
        assert planned(table, selector) == planned(other, selector), selector


@pytest.fixture
def single_entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Yield what patches SHARED. At the beginning every series has an entry of its own."""
    monkeypatch.setattr(shape_index, "SHARED", NEVER)
    yield monkeypatch


@pytest.mark.parametrize("seed", range(6))
def test_a_table_with_shared_shapes_says_what_one_of_single_entries_says(
    seed: int, single_entries: pytest.MonkeyPatch
) -> None:
    single_entries.setattr(series_slots, "RECENT", 10)
    rng = random.Random(seed)
    table, other = SeriesTable(), SeriesTable()
    held, most = dict[int, Description](), 0
    for number in range(1, 400):
        layout = random_page(rng)
        positions = len(layout.raw) + len(layout.views)
        refused = tuple(rng.sample(range(positions), 2)) if rng.random() < 0.05 else ()
        if layout.raw[-1] == layout.raw[0]:  # a store refuses what comes twice
            refused = (*refused, len(layout.raw) - 1)
        held[number] = description = Description(number, "t", layout, refused)
        single_entries.setattr(shape_index, "SHARED", NEVER)
        other.add(description)
        single_entries.setattr(shape_index, "SHARED", seed % 3)
        table.add(description)
        most = max(most, len(table._shapes._anchors))
        while len(held) > 14:
            gone = rng.sample(sorted(held), rng.randint(1, 6))
            assert table.remove(gone) == other.remove(gone)
            for n in gone:
                del held[n]
        if number % 10 == 0:
            alike(table, other)
            for series in series_of(random_page(rng)):
                assert table.id_of(series) == other.id_of(series)
            counted = rng.sample(sorted(held), 3)
            assert table.count_series(counted) == other.count_series(counted)
    assert most > 2
    table.remove(list(held))
    assert (len(table), len(table._elsewhere), table._index.names()) == (0, 0, [])
    assert (table._shapes._groups, table._shapes._lists, table._shapes._anchors) == ({}, {}, {})


def test_only_the_first_lists_of_a_shape_have_entries_for_every_series() -> None:
    table = SeriesTable()
    for n in range(200):
        table.add(Description(n + 1, f"t{n}", page(f"p{n}")))
    each = len(page("p0").raw) + len(page("p0").views)
    assert len(table) == 200 * each
    assert len(table._numbers) == len(table._index._all) == shape_index.SHARED * each
    assert len(planned(table, SELECTORS[3])) == each
    assert sorted(table.label_values("pod")) == sorted(f"p{n}" for n in range(200))


def test_lists_that_one_pair_would_find_by_the_dozen_keep_single_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_index, "SHARED", 0)
    table = SeriesTable()
    for n in range(30):  # the pod is the only label that all series of a list have, and it stays the same
        raw = tuple(Series(f"m{k}", labels_of({"pod": "p", "n": f"{n}-{k % 2}"})) for k in range(10))
        table.add(Description(n + 1, "t", packed(Layout(raw), INTERNER)))
    assert [len(lists) for lists in table._shapes._anchors.values()] in ([], [shape_index.ALIKE])
    assert len(planned(table, (Matcher("pod", MatchOp.EQUAL, "p"),))) == 300


def test_series_outlive_their_list_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_index, "SHARED", 0)
    table, first, more = SeriesTable(), page("p1"), page("p1", more=2)
    table.add(Description(1, "t", first))
    numbers = [table.id_of(series) for series in series_of(first)]
    assert numbers == list(range(len(numbers)))
    table.add(Description(2, "t", more))
    assert len(table) == len(numbers) + 2
    assert table.remove([1]) == {series.name for series in series_of(first)}
    assert [table.id_of(series) for series in series_of(first)] == numbers
    assert planned(table, (Matcher("pod", MatchOp.EQUAL, "p1"),)).keys() == planned(table, ()).keys()
    assert len(planned(table, ())) == len(table) == len(numbers) + 2
    table.remove([2])
    assert [table.id_of(series) for series in series_of(more)] == [None] * len(series_of(more))
    assert (len(table), planned(table, ()), table.label_values("pod")) == (0, {}, [])


# -- stores ----------------------------------------------------------------------------------------------------------

START, STEP, KEPT_S = 1_700_000_000_000, 15_000, 3600.0
EVERYTHING = (-1, START + 10**9)


class Fleet:
    """A store whose targets come, change, end, and come back with the same labels."""

    def __init__(self, folder: Path, limits: StoreLimits | None = None) -> None:
        self.folder, self.limits, self.now = folder, limits, START
        self.open()

    def open(self) -> None:
        self.store = SeriesStore.in_folder(self.folder, KEPT_S, self.limits, KEPT_S)
        self.tidy = Tidy(self.store)

    def close(self) -> None:
        assert isinstance(self.store.space, Folder)
        self.store.space.close()

    def scrape(self, pod: str, layout: Layout, rows: int = 3) -> None:
        for n in range(rows):
            self.now += STEP
            values = np.arange(len(layout.raw)) + self.now % 1000 + n
            self.store.append(f"scrape:{pod}", layout, self.now, values.astype(np.float64))

    def end(self, pod: str) -> None:
        self.now += STEP
        self.store.end(f"scrape:{pod}", self.now)
        self.tidy.turn(self.now)


def timeline(folder: Path, seed: int) -> list[object]:
    """Run a fleet through churn, restarts, followers, a copy and expiry. Return all answers on the way."""
    rng, fleet, said = random.Random(seed), Fleet(folder / "store"), list[object]()
    follower = Follower(fleet.folder)
    pods = [f"p{n}" for n in range(9)]
    for round_ in range(12):
        for pod in rng.sample(pods, 4):
            fleet.scrape(pod, page(pod, parts=rng.choice((("a",), ("b",))), more=rng.choice((0, 0, 1))))
            if rng.random() < 0.7:
                fleet.end(pod)
        if rng.random() < 0.3:
            fleet.close()
            fleet.open()
        fleet.now += rng.choice((STEP, 8 * 60_000))
        fleet.tidy.turn(fleet.now)
        for reader in (fleet.store, follower):
            said.append([series_model.read(reader, name, *EVERYTHING) for name in ("bucket", "m1", "m4", "view1")])
            said.append(reader.series_in(series_model.EVERYTHING, START, fleet.now - 20 * 60_000))
            said.append(series_model.newest(reader, "part", [(fleet.now - 600_000, fleet.now)]))
        said.append(fleet.store.stats())
        if round_ == 8:
            copy_folder(fleet.folder, folder / "copy")
    copied = Follower(folder / "copy")
    said.append(series_model.read(copied, "", *EVERYTHING))
    for later in (KEPT_S / 2, KEPT_S):
        fleet.tidy.turn(fleet.now + round(later * 1000))
        said.append([series_model.read(reader, "", *EVERYTHING) for reader in (fleet.store, follower)])
        said.append((len(fleet.store.table), len(follower.table)))
    for reader in (follower, copied):
        reader.close()
    fleet.close()
    return said


@pytest.mark.parametrize("seed", range(4))
def test_a_fleet_with_shared_shapes_gets_the_answers_of_one_with_single_entries(
    seed: int, tmp_path: Path, single_entries: pytest.MonkeyPatch
) -> None:
    for name in ("single", "shared"):
        (tmp_path / name).mkdir()
    wanted = timeline(tmp_path / "single", seed)
    single_entries.setattr(shape_index, "SHARED", 0)
    got = timeline(tmp_path / "shared", seed)
    for number, (one, other) in enumerate(zip(got, wanted, strict=True)):
        assert one == other, number


def test_a_target_that_comes_back_goes_on_with_its_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_index, "SHARED", 0)
    fleet = Fleet(tmp_path / "store")
    for n in range(3):
        fleet.scrape(f"p{n}", page(f"p{n}"))
        fleet.end(f"p{n}")
    series, blocks = len(fleet.store.table), fleet.store.stats().blocks
    fleet.close()
    fleet.open()
    fleet.scrape("p1", page("p1"))
    assert (len(fleet.store.table), fleet.store.stats().blocks) == (series, blocks)
    (labels,) = [labels for labels in series_model.read(fleet.store, "m1", *EVERYTHING) if ("pod", "p1") in labels]
    assert len(series_model.read(fleet.store, "m1", *EVERYTHING)[labels]) == 6
    fleet.close()


def test_limits_count_series_that_share_a_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_index, "SHARED", 0)
    each = len(series_of(page("p0")))
    fleet = Fleet(tmp_path / "store", StoreLimits(max_series=3 * each + 5))
    for n in range(5):
        fleet.scrape(f"p{n}", page(f"p{n}"))
    assert fleet.store.refused() == {"scrape:p3": each - 5, "scrape:p4": each}
    assert len(fleet.store.table) == 3 * each + 5
    assert fleet.store.has_room_for(page("p0").raw[0])
    assert not fleet.store.has_room_for(page("p4").raw[0])
    fleet.tidy.turn(fleet.now + round(2 * KEPT_S * 1000))
    assert len(fleet.store.table) == 0
    fleet.close()


def test_one_damaged_description_takes_no_other_target_s_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shape_index, "SHARED", 0)
    fleet = Fleet(tmp_path / "store")
    for n in range(4):
        fleet.scrape(f"p{n}", page(f"p{n}"))
    before = series_model.read(fleet.store, "", *EVERYTHING)
    assert isinstance(fleet.store.space, Folder) and fleet.store.space.journal is not None
    path, (start, end) = fleet.store.space.journal.path, fleet.store.space.layouts[2]
    fleet.close()
    data = bytearray(path.read_bytes())
    data[(start + end) // 2] ^= 0xFF
    path.write_bytes(data)
    fleet.open()
    assert f"{path}: {end - start} bytes from byte {start} on are damaged" in caplog.text
    left = {labels: samples for labels, samples in before.items() if ("pod", "p1") not in labels}
    assert series_model.read(fleet.store, "", *EVERYTHING) == left
    # The target is still there: its next scrape describes it again.
    fleet.scrape("p1", page("p1"))
    assert series_model.read(fleet.store, "", *EVERYTHING).keys() == before.keys()
    fleet.close()


def test_a_target_that_comes_while_the_disk_is_full_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_index, "SHARED", 0)
    fleet = Fleet(tmp_path / "store")
    fleet.scrape("p0", page("p0"))
    assert isinstance(fleet.store.space, Folder)
    fleet.store.space.pause(OSError(28, "No space left on device"))
    fleet.scrape("p1", page("p1"))
    fleet.end("p0")
    there = series_model.read(fleet.store, "m1", *EVERYTHING)
    assert sorted(dict(labels)["pod"] for labels in there) == ["p0", "p1"]
    fleet.now += 20_000
    fleet.tidy.turn(fleet.now)  # it tries the disk again
    assert fleet.store.space.paused == ""
    fleet.close()
    fleet.open()
    follower = Follower(fleet.folder)
    for reader in (fleet.store, follower):
        assert series_model.read(reader, "m1", *EVERYTHING) == there
    follower.close()
    fleet.close()


def test_layouts_of_rules_are_kept_packed_and_go_on_with_their_rows(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "store")
    layout = Layout(tuple(Series("r", labels_of({"pod": f"p{n}"})) for n in range(20)))
    few = Layout(layout.raw[:3])
    for one in (layout, layout, few, layout):
        fleet.scrape("rule", one, rows=2)
    first, last = (fleet.store.table.layout_of(block) for block in fleet.store.table.blocks.values())
    assert isinstance(first.raw, SeriesList)
    assert first.raw == layout.raw
    assert last is few
    assert fleet.store.stats().blocks == 2
    assert {len(samples) for samples in series_model.read(fleet.store, "r", *EVERYTHING).values()} == {8, 6}
    fleet.close()


def test_further_slots_are_found_before_and_after_they_are_sorted_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_slots, "RECENT", 4)
    slots, gone = series_slots.SeriesSlots(), set[int]()

    def living(some: IntArray) -> BoolArray:
        return ~np.isin(some, list(gone))

    def of(*numbers: int) -> dict[int, list[int]]:
        places, found = slots.of(np.array(numbers, dtype=np.int64))
        return {n: found[places == place].tolist() for place, n in enumerate(numbers)}

    slots.add(np.array([3, 1]), np.array([10, 11]))
    assert of(1, 2, 3) == {1: [11], 2: [], 3: [10]}
    slots.add(np.array([1, 2, 3]), np.array([12, 13, 14]))
    slots.add(np.array([1]), np.array([15]))
    assert (of(3, 1, 2), len(slots)) == ({3: [10, 14], 1: [11, 12, 15], 2: [13]}, 6)
    assert slots.last(np.array([0, 1, 2, 3, 4])).tolist() == [-1, 15, 13, 14, -1]
    gone |= {10, 11}
    slots.gone(2, living)
    assert len(slots) == 6  # too few are gone for the work
    gone |= {12, 13, 14}
    slots.gone(3, living)
    assert (of(1, 2, 3), len(slots)) == ({1: [15], 2: [], 3: []}, 1)
    slots.gone(1, living)
    assert (of(1), len(slots)) == ({1: []}, 0)
