"""What a crash or a bad disk leaves behind: the damage is said by file and place, everything else is used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.samples import Layout, Series
from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.errors import StorageError, StorageLocked
from controlplane.metrics.storage.journal import Journal, Kind, frame, records
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.records import Gone, decode, encode
from tests.fakes import series_model

ALL = list(range(30))
FIRST_FRAME = 32 + 2 * 8 + 4 + 1
"""Where the times of a packed chunk of three columns lie, behind its head."""
NAMES_OF_A = (("__name__", "m0"), ("source", "a"))


def flip(path: Path, at: int, size: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        data = file.read(size)
        file.seek(at)
        file.write(bytes(byte ^ 0x5A for byte in data))


def chunks(rig: Any, source: str) -> list[Chunk | PackedChunk]:
    return [c for block in rig.store.sources[source].blocks.values() for c in block.chunks]


def test_a_store_goes_on_where_the_last_run_stopped(rig: Any, caplog: pytest.LogCaptureFixture):
    rig.write(200)
    rig.pack()
    for _ in range(3):
        rig.die()
        rig.open()
        rig.write(30)
        rig.close()
        rig.open()
        rig.write(30)
    assert rig.held() == {source: list(range(380)) for source in "abc"}
    assert rig.store.stats().blocks == 3
    assert rig.store.newest_ms("a") == rig.now - rig.step
    assert caplog.messages == []


def test_an_empty_folder_is_made_and_a_file_in_its_place_is_refused(tmp_path: Path, rig: Any):
    assert rig.held() == {}
    assert rig.path.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file: cannot be used for metrics: File exists"):
        type(rig)(tmp_path / "file")


def test_two_processes_cannot_use_one_folder(rig: Any):
    with pytest.raises(StorageLocked, match="another control plane keeps its metrics here; stop it, or give this one"):
        type(rig)(rig.path)


def test_a_folder_that_could_not_be_opened_is_given_free(rig: Any, monkeypatch: pytest.MonkeyPatch):
    rig.write(5)
    rig.close()
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "read", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(StorageError, match=r"metrics of earlier runs cannot be read: .*Input/output error"):
            rig.open()
    rig.open()
    assert rig.held() == {source: list(range(5)) for source in "abc"}


def test_a_thread_that_is_late_touches_no_file_of_a_store_that_was_closed(rig: Any, caplog: pytest.LogCaptureFixture):
    """The folder may be another process's by then."""
    rig.write(168)
    old, tidy, folder = rig.store, rig.tidy, rig.folder
    rig.close()
    before = {path.name: path.read_bytes() for path in rig.path.iterdir()}
    for n in range(300):
        old.append("late", Layout((Series(f"late{n // 100}", ()),)), rig.now + n, np.array([1.0]))
    old.end("late", rig.now + 1000)
    assert tidy.turn(rig.now + 10**9) == (0, 0)
    batch = [(block, chunk) for block in old.sources["a"].blocks.values() for chunk in block.chunks]
    assert tidy._packed(batch) == 0
    old.expire(rig.now + 10**12)
    with old.writing:
        assert not folder.resume()
    assert {path.name: path.read_bytes() for path in rig.path.iterdir()} == before
    assert caplog.messages == []
    rig.open()
    assert rig.held() == {source: list(range(168)) for source in "abc"}


# -- the journal ----------------------------------------------------------------------------------------------------


def test_a_journal_cut_off_at_any_byte_costs_what_its_last_records_said_and_nothing_else(rig: Any, tmp_path: Path):
    rig.write(10)
    journal = rig.folder.journal.path
    ends = [record.end for record in records(journal.read_bytes())]
    rig.die()
    whole = tmp_path / "whole"
    shutil.copytree(rig.path, whole)
    seen = []
    for size in range(ends[-4], ends[-1] + 1):
        shutil.rmtree(rig.path)
        shutil.copytree(whole, rig.path)
        os.truncate(rig.path / journal.name, size)
        rig.open()
        assert (rig.path / journal.name).stat().st_size >= max(end for end in ends if end <= size)
        seen.append((sum(end <= size for end in ends), {source: len(rows) for source, rows in rig.held().items()}))
        rig.close()
    # The second chunk of each source, of rows 8 and 9, is the matter of the last three records.
    assert [held for n, held in seen if n == len(ends)] == [{"a": 10, "b": 10, "c": 10}]
    assert all(held == {"a": 10, "b": 10, "c": 8} for n, held in seen if n == len(ends) - 1)
    assert all(held == {"a": 10, "b": 8, "c": 8} for n, held in seen if n == len(ends) - 2)
    assert all(held == {"a": 8, "b": 8, "c": 8} for n, held in seen if n == len(ends) - 3)
    rig.open()


def test_a_record_that_is_damaged_costs_what_it_said_and_those_behind_it_hold(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rig.write(30)
    journal = rig.folder.journal.path
    found = list(records(journal.read_bytes()))
    rig.die()
    whole = tmp_path / "whole"
    shutil.copytree(rig.path, whole)
    for record in found[:-1]:
        for at in (record.start, record.start + 5, record.start + 9, record.end - 1):
            shutil.rmtree(rig.path)
            shutil.copytree(whole, rig.path)
            flip(journal, at)
            caplog.clear()
            rig.open()
            held = rig.held()
            size = record.end - record.start
            assert f"journal.1: {size} bytes from byte {record.start} on are damaged" in caplog.text
            if record.kind == Kind.LAYOUT:
                assert [len(held.get(source, [])) for source in "abc"].count(30) == 2
            elif record.kind == Kind.CHUNK:
                assert sum(len(rows) for rows in held.values()) in (90 - 8, 90 - 22)
            else:
                assert held == dict.fromkeys("abc", ALL)
            # It is masked: the next start and those who follow the journal read over it.
            rig.close()
            assert len(list(records(journal.read_bytes()))) >= len(found)
            caplog.clear()
            rig.open()
            assert rig.held() == held
            assert caplog.messages == []
            rig.close()
    rig.open()


def test_a_record_of_a_later_version_is_passed_over(rig: Any, caplog: pytest.LogCaptureFixture):
    rig.write(5)
    journal = rig.folder.journal.path
    rig.die()
    with journal.open("ab") as file:
        file.write(frame(Kind.GONE, b"{}") + frame(Kind.CHUNK, b"[1]"))
    rig.open()
    assert rig.held() == {source: list(range(5)) for source in "abc"}
    assert caplog.text.count("is left out") == 2


def test_a_draft_of_a_journal_and_an_older_one_are_no_matter(rig: Any):
    rig.write(20)
    rig.die()
    (rig.path / "journal.2.new").write_bytes(b"half of")
    rig.open()
    assert rig.held() == {source: list(range(20)) for source in "abc"}
    old = rig.folder.journal.path.read_bytes()
    with rig.store.writing:
        rig.folder.rewrite(rig.tidy._records)
    rig.write(5)
    rig.die()
    (rig.path / "journal.1").write_bytes(old)
    rig.open()
    assert rig.held() == {source: list(range(25)) for source in "abc"}
    assert sorted(path.name for path in rig.path.glob("journal*")) == ["journal.2"]


def test_a_rewrite_that_fails_at_any_write_leaves_the_old_journal(rig: Any, monkeypatch: pytest.MonkeyPatch):
    rig.write(20)
    real = os.pwrite
    for allowed in range(8):
        left = [allowed]

        def failing(file: int, data: bytes, at: int, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] < 0:
                real(file, data[: len(data) // 2], at)
                raise OSError(28, "No space left on device")
            return real(file, data, at)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", failing)
            with pytest.raises(OSError, match="No space"), rig.store.writing:
                rig.folder.rewrite(rig.tidy._records)
        rig.write(1)
        assert sorted(path.name for path in rig.path.glob("journal*")) == ["journal.1"]
    rig.die()
    rig.open()
    assert rig.held() == {source: list(range(28)) for source in "abc"}


# -- arenas ---------------------------------------------------------------------------------------------------------


def test_a_row_that_is_damaged_is_left_out_alone(rig: Any, caplog: pytest.LogCaptureFixture):
    rig.write(30)
    chunk = chunks(rig, "b")[1]
    assert isinstance(chunk, Chunk)
    at = 8 * (chunk.at + 1 + 2 * chunk.capacity + 4 * chunk.columns)
    arena = rig.file("*.arena")
    rig.die()
    flip(arena, at)
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
def test_a_damaged_count_costs_nothing(rig: Any, count: int):
    rig.write(30)
    chunk = chunks(rig, "b")[1]
    chunk.arena.words[chunk.at] = count
    rig.die()
    rig.open()
    assert rig.held() == dict.fromkeys("abc", ALL)


@pytest.mark.parametrize("word", range(5))
def test_a_row_that_was_torn_when_it_was_written_is_cut_off(rig: Any, word: int):
    """The process died with the last row half there: its time, its checksum or a value is missing."""
    rig.write(10)
    chunk = chunks(rig, "a")[1]
    row = chunk.count - 1
    values = chunk.at + 1 + 2 * chunk.capacity + row * chunk.columns
    places = [chunk.at + 1 + row, chunk.at + 1 + chunk.capacity + row, values, values + 1, values + 2]
    chunk.arena.words[places[word]] = 0
    rig.die()
    rig.open()
    assert rig.held() == {"a": list(range(9)), "b": list(range(10)), "c": list(range(10))}


def test_an_arena_that_is_gone_costs_its_rows_and_its_number_is_not_used_again(
    rig: Any, caplog: pytest.LogCaptureFixture
):
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
def test_an_arena_that_is_cut_off_costs_the_chunks_behind(rig: Any, size: int):
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
def test_a_file_that_cannot_be_read_now_is_left_alone(rig: Any, monkeypatch: pytest.MonkeyPatch, packed: bool):
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


def test_damage_in_a_pack_file_costs_the_chunk_that_it_hits(rig: Any, caplog: pytest.LogCaptureFixture):
    rig.write(200)
    assert rig.pack() == 9
    first, second = [c for c in chunks(rig, "b") if isinstance(c, PackedChunk)][:2]
    file = rig.file("*.raw")
    rig.die()
    flip(file, first.offset + 3)
    flip(file, second.offset + second.nbytes - 1)
    rig.open()
    held = rig.held()
    assert held["a"] == held["c"] == list(range(200))
    assert held["b"] == list(range(40, 200))
    assert caplog.messages == [f"metrics: {file}, chunk {first.number}: these are no packed samples: it is left out"]


def test_a_pack_file_that_is_gone_or_cut_off(rig: Any, caplog: pytest.LogCaptureFixture):
    rig.write(200)
    rig.pack()
    file = rig.file("*.raw")
    rig.die()
    os.truncate(file, 0)
    rig.open()
    assert {source: rows[0] for source, rows in rig.held().items()} == {"a": 168, "b": 168, "c": 168}
    assert caplog.text.count("it ends before chunk") == 9
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
):
    rig.write(200)
    monkeypatch.setattr(rig.tidy, "_replace", lambda *args: 0)
    rig.pack()
    assert rig.file("*.raw").stat().st_size > 0
    rig.die()
    rig.open()
    assert rig.held() == {source: list(range(200)) for source in "abc"}
    assert list(rig.path.glob("*.raw")) == []


def test_a_crash_between_the_journal_and_the_arena_uses_what_was_packed(rig: Any, monkeypatch: pytest.MonkeyPatch):
    rig.write(168)
    arena = rig.file("*.arena")
    monkeypatch.setattr(rig.folder, "release", lambda chunk: None)
    assert rig.pack() == 9
    rig.die()
    assert arena.exists()
    rig.open()
    assert not arena.exists()
    assert rig.held() == {source: list(range(168)) for source in "abc"}


def test_arenas_go_only_when_the_journal_is_on_the_disk(rig: Any, monkeypatch: pytest.MonkeyPatch):
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
    assert rig.pack() == 9
    assert rig.folder.paused == "Input/output error"
    assert arena.exists()
    assert rig.held() == {source: list(range(168)) for source in "abc"}
    rig.pack()
    assert not rig.folder.paused
    assert rig.folder.arenas.nbytes == 0
    assert synced[1] == rig.folder.journal.end or len(synced) > 2


def test_a_chunk_of_another_shape_than_its_layout_is_left_out(rig: Any, caplog: pytest.LogCaptureFixture):
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


def test_a_layout_that_came_back_under_another_number_counts_once(rig: Any):
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


def test_numbers_are_never_given_twice(rig: Any):
    rig.write(10)
    rig.store._forget([rig.store.sources[source].current for source in "abc"])
    journal = rig.folder.journal.path
    numbers = {decode(r.payload)[0] for r in records(journal.read_bytes()) if r.kind == Kind.CHUNK}
    rig.die()
    rig.open()
    rig.write(1)
    assert not numbers & {chunk.number for source in "abc" for chunk in chunks(rig, source)}
    assert min(rig.folder.layouts) > 3


def test_an_end_row_that_was_lost_with_the_process_is_made_up_for(rig: Any):
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


def test_a_source_that_ended_its_new_layout_after_a_restart_ends_it(rig: Any):
    """Old and new block have a row at the same time; the new one is the current one."""
    one, two = Layout((Series("one", ()),)), Layout((Series("two", ()),))
    rig.store.append("t", one, 1000, np.array([1.0]))
    rig.store.append("t", two, 2000, np.array([2.0]))
    rig.die()
    rig.open()
    rig.store.append("t", one, 3000, np.array([3.0]))
    ((labels, _),) = series_model.newest(rig.store, "", [(0, 5000)])[0].items()
    assert labels == (("__name__", "one"),)


def test_a_damaged_last_chunk_does_not_stop_the_start(rig: Any):
    rig.write(39)
    rig.store.end("a", rig.now)
    rig.tidy.turn(rig.now + 3 * 3_600_000)
    last = chunks(rig, "a")[-1]
    assert isinstance(last, PackedChunk)
    file = rig.file("*.raw")
    rig.die()
    flip(file, last.offset + FIRST_FRAME)
    rig.open()
    assert {source: len(rows) for source, rows in rig.held().items()} == {"a": 8, "b": 39, "c": 39}
    rig.store.end("a", rig.now + 1)
    assert series_model.newest(rig.store, "m0", [(0, 1 << 45)])[0].keys().isdisjoint({NAMES_OF_A})


def test_a_folder_with_nothing_to_say_says_nothing(rig: Any, caplog: pytest.LogCaptureFixture):
    rig.folder.write_off([], [])
    rig.die()
    rig.open()
    assert caplog.messages == []
    assert not any(r.payload == encode(Gone()) for r in records(rig.folder.journal.read()))
