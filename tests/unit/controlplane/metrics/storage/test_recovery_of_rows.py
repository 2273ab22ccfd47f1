"""Arenas and pack files that a crash or a bad disk damaged, and what the journal forgot."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.journal import Journal, Kind, frame, records
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.records import Gone, decode, encode
from tests.fakes import series_model

ALL = list(range(30))
FIRST_FRAME = 32 + 2 * 8 + 4 + 1
"""Where the times of a packed chunk of three columns lie, behind its head."""
NAMES_OF_A = (("__name__", "m0"), ("source", "a"))


# -- arenas ---------------------------------------------------------------------------------------------------------


def test_a_row_that_is_damaged_is_left_out_alone(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.write(30)
    chunk = rig.chunks("b")[1]
    assert isinstance(chunk, Chunk)
    at = 8 * (chunk.at + 1 + 2 * chunk.capacity + 4 * chunk.columns)
    arena = rig.file("*.arena")
    rig.die()
    rig.flip(arena, at)
    rig.open()
    assert rig.held() == {"a": ALL, "b": [row for row in ALL if row != 12], "c": ALL}
    assert caplog.messages == [f"metrics: {arena}: 1 rows were torn by a crash, or damaged, and are left out"]
    rig.write(3)
    caplog.clear()
    rig.die()
    rig.open()
    assert rig.held()["b"] == [row for row in range(33) if row != 12]
    assert caplog.messages == []


@pytest.mark.parametrize("count", [0, 1, 21, 33, -1, 1 << 40])
def test_a_damaged_count_costs_nothing(rig: Any, count: int) -> None:
    rig.write(30)
    chunk = rig.chunks("b")[1]
    chunk.arena.words[chunk.at] = count
    rig.die()
    rig.open()
    assert rig.held() == dict.fromkeys("abc", ALL)


@pytest.mark.parametrize("word", range(5))
def test_a_row_that_was_torn_when_it_was_written_is_cut_off(rig: Any, word: int) -> None:
    """The process died with the last row half there: its time, its checksum or a value is missing."""
    rig.write(10)
    chunk = rig.chunks("a")[1]
    row = chunk.count - 1
    values = chunk.at + 1 + 2 * chunk.capacity + row * chunk.columns
    places = [chunk.at + 1 + row, chunk.at + 1 + chunk.capacity + row, values, values + 1, values + 2]
    chunk.arena.words[places[word]] = 0
    rig.die()
    rig.open()
    assert rig.held() == {"a": list(range(9)), "b": list(range(10)), "c": list(range(10))}


def test_an_arena_that_is_gone_costs_its_rows_and_its_number_is_not_used_again(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rig.write(30)
    arena = rig.file("*.arena")
    rig.die()
    arena.unlink()
    rig.open()
    assert rig.held() == {}
    assert caplog.messages == [f"metrics: {arena} is not there: its 6 chunks are lost"]
    rig.write(20)
    rig.die()
    caplog.clear()
    rig.open()
    assert rig.held() == {source: list(range(30, 50)) for source in "abc"}
    assert not arena.exists()
    assert caplog.messages == []


@pytest.mark.parametrize("size", [0, 8, 1000])
def test_an_arena_that_is_cut_off_costs_the_chunks_behind(rig: Any, size: int) -> None:
    rig.write(30)
    arena = rig.file("*.arena")
    rig.die()
    os.truncate(arena, size)
    rig.open()
    assert rig.held() == ({source: list(range(8)) for source in "abc"} if size == 1000 else {})
    rig.write(2)
    rig.die()
    rig.open()
    assert all(rows[-2:] == [30, 31] for rows in rig.held().values())


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_cannot_be_read_now_is_left_alone(rig: Any, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    rig.write(200)
    if packed:
        assert rig.pack() > 0
    held = rig.held()
    rig.die()
    with monkeypatch.context() as patched:

        def refuse(*args: object, **named: object) -> None:
            raise OSError(24, "Too many open files")

        patched.setattr(*(PackFile, "map", refuse) if packed else (Arena, "open", refuse))
        rig.open()
    assert rig.held() != held
    rig.close()
    rig.open()
    assert rig.held() == held


# -- pack files -----------------------------------------------------------------------------------------------------


def test_damage_in_a_pack_file_costs_the_chunk_that_it_hits(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.write(200)
    assert rig.pack() == 12
    first, second = [c for c in rig.chunks("b") if isinstance(c, PackedChunk)][:2]
    file = rig.file("*.raw")
    rig.die()
    rig.flip(file, first.offset + 3)
    rig.flip(file, second.offset + second.nbytes - 1)
    rig.open()
    held = rig.held()
    assert held["a"] == held["c"] == list(range(200))
    assert held["b"] == list(range(40, 200))
    assert caplog.messages == [f"metrics: {file}, chunk {first.number}: these are no packed samples: it is left out"]


def test_a_pack_file_that_is_gone_or_cut_off(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.write(200)
    rig.pack()
    file = rig.file("*.raw")
    rig.die()
    os.truncate(file, 0)
    rig.open()
    assert {source: rows[0] for source, rows in rig.held().items()} == {"a": 168, "b": 168, "c": 168}
    assert caplog.text.count("it ends before chunk") == 12
    assert not file.exists()
    rig.write(200)
    assert rig.pack() > 0
    fresh = rig.file("*.raw")
    assert fresh.name != file.name
    rig.die()
    fresh.unlink()
    caplog.clear()
    rig.open()
    assert "is not there: its" in caplog.text
    assert all(rows[-1] == 399 for rows in rig.held().values())


def test_a_crash_between_packing_and_the_journal_uses_the_rows_that_were_packed_from(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.write(200)
    monkeypatch.setattr(rig.tidy, "_replace", lambda *args: 0)
    rig.pack()
    assert rig.file("*.raw").stat().st_size > 0
    rig.die()
    rig.open()
    assert rig.held() == {source: list(range(200)) for source in "abc"}
    assert list(rig.path.glob("*.raw")) == []


def test_a_crash_between_the_journal_and_the_arena_uses_what_was_packed(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.write(168)
    arena = rig.file("*.arena")
    monkeypatch.setattr(rig.folder, "release", lambda chunk: None)
    assert rig.pack() == 12
    rig.die()
    assert arena.exists()
    rig.open()
    assert not arena.exists()
    assert rig.held() == {source: list(range(168)) for source in "abc"}


def test_arenas_go_only_when_the_journal_is_on_the_disk(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not find the arena deleted and the journal not saying where its rows are now."""
    rig.write(168)
    arena = rig.file("*.arena")
    synced: list[int] = []
    real = Journal.sync

    def sync(journal: Journal) -> None:
        assert arena.exists()
        if not synced:
            synced.append(0)
            raise OSError(5, "Input/output error")
        synced.append(journal.end)
        real(journal)

    monkeypatch.setattr(Journal, "sync", sync)
    assert rig.pack() == 12
    assert rig.folder.paused == "Input/output error"
    assert arena.exists()
    assert rig.held() == {source: list(range(168)) for source in "abc"}
    rig.pack()
    assert not rig.folder.paused
    assert rig.folder.arenas.nbytes == 0
    assert synced[1] == rig.folder.journal.end or len(synced) > 2


def test_a_chunk_of_another_shape_than_its_layout_is_left_out(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.write(200)
    rig.pack()
    journal = rig.folder.journal.path
    layouts = rig.folder.layouts
    data = journal.read_bytes()
    rig.die()
    first = min(layouts)
    start, end = layouts[first]
    description = next(r for r in records(data) if r.start == start)
    rig.open()
    rig.store.append("odd", Layout((Series("one", ()),)), rig.now, np.array([1.0]))
    number = max(rig.folder.layouts)
    moved = next(decode(r.payload) for r in records(data) if r.kind == Kind.PACKED)
    rig.die()
    with journal.open("ab") as file:
        file.write(frame(Kind.PACKED, encode((moved[0], number, *moved[2:]))))
    caplog.clear()
    rig.open()
    assert "it is not what the journal says" in caplog.text
    assert series_model.read(rig.store, "one", -1, 1 << 45)
    assert description.end == end


# -- what the journal forgot ------------------------------------------------------------------------------------------


def test_a_layout_that_came_back_under_another_number_counts_once(rig: Any) -> None:
    """Its first number was dropped while the journal could not be written."""
    rig.write(10)
    journal = rig.folder.journal.path
    old = next(r for r in records(journal.read_bytes()) if r.kind == Kind.LAYOUT)
    rig.store._forget([rig.store.sources["a"].current])
    rig.write(10)
    rig.die()
    data = b"".join(frame(Kind(r.kind), r.payload) for r in records(journal.read_bytes()) if r.kind != Kind.GONE)
    journal.write_bytes(data)
    rig.open()
    assert rig.held() == {"a": list(range(10, 20)), "b": list(range(20)), "c": list(range(20))}
    assert rig.store.stats().blocks == 3
    assert old.payload in [r.payload for r in records(data)]


def test_numbers_are_never_given_twice(rig: Any) -> None:
    rig.write(10)
    rig.store._forget([rig.store.sources[source].current for source in "abc"])
    journal = rig.folder.journal.path
    numbers = {decode(r.payload)[0] for r in records(journal.read_bytes()) if r.kind == Kind.CHUNK}
    rig.die()
    rig.open()
    rig.write(1)
    assert not numbers & {chunk.number for source in "abc" for chunk in rig.chunks(source)}
    assert min(rig.folder.layouts) > 3


def test_an_end_row_that_was_lost_with_the_process_is_made_up_for(rig: Any) -> None:
    """The process died between the first row of a new layout and the end row of the old one."""
    one, two = Layout((Series("one", ()),)), Layout((Series("two", ()),))
    rig.store.append("t", one, 1000, np.array([1.0]))
    rig.store.append("t", two, 2000, np.array([2.0]))
    old = next(b for b in rig.store.sources["t"].blocks.values() if b is not rig.store.sources["t"].current)
    old.chunks[-1].arena.words[old.chunks[-1].at] = 1
    old.chunks[-1]._meta[1] = 0
    rig.die()
    rig.open()
    ((_, (at, value)),) = series_model.newest(rig.store, "", [(0, 5000)])[0].items()
    assert (at, value) == (2000, 2.0)
    rig.store.end("t", 3000)
    assert series_model.newest(rig.store, "", [(0, 5000)]) == [{}]


def test_a_source_that_ended_its_new_layout_after_a_restart_ends_it(rig: Any) -> None:
    """Old and new block have a row at the same time; the new one is the current one."""
    one, two = Layout((Series("one", ()),)), Layout((Series("two", ()),))
    rig.store.append("t", one, 1000, np.array([1.0]))
    rig.store.append("t", two, 2000, np.array([2.0]))
    rig.die()
    rig.open()
    rig.store.append("t", one, 3000, np.array([3.0]))
    ((labels, _),) = series_model.newest(rig.store, "", [(0, 5000)])[0].items()
    assert labels == (("__name__", "one"),)


def test_a_damaged_last_chunk_does_not_stop_the_start(rig: Any) -> None:
    rig.write(39)
    rig.store.end("a", rig.now)
    rig.tidy.turn(rig.now + 3 * 3_600_000)
    last = rig.chunks("a")[-1]
    assert isinstance(last, PackedChunk)
    file = rig.file("*.raw")
    rig.die()
    rig.flip(file, last.offset + FIRST_FRAME)
    rig.open()
    assert {source: len(rows) for source, rows in rig.held().items()} == {"a": 8, "b": 39, "c": 39}
    rig.store.end("a", rig.now + 1)
    assert series_model.newest(rig.store, "m0", [(0, 1 << 45)])[0].keys().isdisjoint({NAMES_OF_A})


def test_a_folder_with_nothing_to_say_says_nothing(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig.folder.write_off([], [])
    rig.die()
    rig.open()
    assert caplog.messages == []
    assert not any(r.payload == encode(Gone()) for r in records(rig.folder.journal.read()))
