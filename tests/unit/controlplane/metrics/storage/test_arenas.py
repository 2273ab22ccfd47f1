from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.arenas import LARGEST, SMALLEST, Arenas
from controlplane.metrics.storage.chunk import Chunk, words_of
from tests.fakes.memory import resident


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_arena_in_a_file_has_its_disk_reserved_and_is_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "00000001.arena"
    arena = Arena.make(1, 1000, path)
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (8000, 0o600)
    assert path.stat().st_blocks * 512 >= 8000
    assert (arena.cut(600), arena.cut(500), arena.cut(400), arena.live) == (0, None, 600, 2)
    arena.floats[3] = 1.5
    other = Arena.open(1, path, writable=False)
    assert other.floats[3] == 1.5
    assert other.cut(1) is None
    with pytest.raises(ValueError, match="read-only"):
        other.words[0] = 1
    arena.sync()
    arena.remove()
    arena.remove()
    assert not path.exists()
    assert other.floats[3] == 1.5


def test_an_arena_never_takes_the_place_of_a_file_and_leaves_none_when_it_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "00000001.arena"
    path.write_bytes(b"something")
    with pytest.raises(FileExistsError):
        Arena.make(1, 1000, path)
    assert path.read_bytes() == b"something"

    def full(*args: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Arena.make(2, 1000, tmp_path / "00000002.arena")
    assert names(tmp_path) == ["00000001.arena"]


@pytest.mark.parametrize("size", [0, 7, 8, 20])
def test_a_file_of_any_length_can_be_opened(tmp_path: Path, size: int) -> None:
    path = tmp_path / "00000001.arena"
    path.write_bytes(bytes(size))
    assert len(Arena.open(1, path, writable=True).words) == size // 8


def test_chunks_are_cut_and_arenas_go_with_their_last_chunk(tmp_path: Path) -> None:
    arenas = Arenas(tmp_path)
    rows = SMALLEST // 24
    chunks = [arenas.cut(n, rows, 8) for n in range(5)]
    assert [chunk.arena.number for chunk in chunks] == [1, 1, 2, 2, 3]
    assert arenas.nbytes == 5 * 8 * words_of(rows, 8)
    assert arenas.reserved == 3 * 8 * SMALLEST
    for chunk in chunks[:-1]:
        arenas.release(chunk)
    assert (arenas.nbytes, names(tmp_path)) == (chunks[-1].nbytes, ["00000003.arena"])
    arenas.release(chunks[-1])
    # The current one stays, to be cut from, until another takes its place.
    assert (arenas.nbytes, names(tmp_path)) == (0, ["00000003.arena"])
    arenas.cut(9, 2 * rows, 8)
    assert names(tmp_path) == ["00000004.arena"]


def test_arenas_of_many_short_runs_stay_small(tmp_path: Path) -> None:
    """A service that is started again every few seconds: nothing is packed for minutes, and each run has its own."""
    for run in range(1, 21):
        arenas = Arenas(tmp_path)
        for number in range(1, run):
            arenas.adopt(Arena.open(number, tmp_path / f"{number:08}.arena", writable=True), nbytes=10_000)
        assert len(arenas.cut(run, 100, 8).arena.words) == SMALLEST
    assert arenas.reserved == 20 * 8 * SMALLEST


def test_a_cut_that_is_taken_back_leaves_no_trace_even_if_it_took_a_new_arena(tmp_path: Path) -> None:
    arenas = Arenas(tmp_path)
    first = arenas.cut(1, SMALLEST // 10 - 100, 8)
    undone = arenas.cut(2, SMALLEST // 10 - 100, 8)
    arenas.undo(undone)
    assert (first.arena.live, undone.arena.live, undone.arena.used) == (1, 0, 0)
    assert arenas.nbytes == first.nbytes
    again = arenas.cut(3, 10, 8)
    assert (again.arena, again.at, again.count, again.first_ms) == (undone.arena, 0, 0, 0)
    arenas.undo(again)
    arenas.cut(4, SMALLEST // 10, 10)
    assert names(tmp_path) == ["00000001.arena", "00000003.arena"]


def test_a_chunk_larger_than_the_largest_arena_gets_its_own(tmp_path: Path) -> None:
    arenas = Arenas(None)
    columns = 100_000
    chunk = arenas.cut(1, 128, columns)
    assert len(chunk.arena.words) == words_of(128, columns) > LARGEST
    chunk.append(1, np.ones(columns))
    assert chunk.mend() == 0
    arenas.release(chunk)
    assert arenas.nbytes == 0


def test_the_spare_is_used_if_it_is_large_enough(tmp_path: Path) -> None:
    arenas = Arenas(tmp_path)
    assert arenas.wanted() is None
    arenas.cut(1, SMALLEST // 20, 10)
    wanted = arenas.wanted()
    assert wanted == (2, SMALLEST, tmp_path / "00000002.arena")
    arenas.spare = Arena.make(*wanted)
    assert arenas.wanted() is None
    assert arenas.wanted(always=True) is None
    assert arenas.reserved == 2 * 8 * SMALLEST
    big = arenas.cut(2, SMALLEST // 5, 10)
    assert (big.arena.number, arenas.spare.number) == (3, 2)
    assert arenas.cut(3, SMALLEST // 20, 10).arena.number == 2
    assert arenas.spare is None


def test_a_sync_beside_a_release_is_no_error_but_a_file_that_somebody_deleted_is(tmp_path: Path) -> None:
    arenas = Arenas(tmp_path)
    chunk = arenas.cut(1, 10, 3)
    path = chunk.arena.path
    assert path is not None
    arenas.sync()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        arenas.sync()
    real, arenas.used = arenas.used, dict(arenas.used)
    del real[chunk.arena.number]

    class Changing(dict[int, Arena]):
        def values(self) -> list[Arena]:  # type: ignore[override]
            listed = list(super().values())
            self.clear()
            return listed

    arenas.used = Changing(arenas.used)
    arenas.sync()


def test_a_file_that_cannot_be_deleted_is_said_and_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arenas = Arenas(tmp_path)
    chunk = arenas.cut(1, SMALLEST // 10, 8)
    arenas.cut(2, SMALLEST // 10, 8)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    arenas.release(chunk)
    assert "00000001.arena cannot be deleted ([Errno 30] Read-only file system); the next start does it" in caplog.text
    assert list(arenas.used) == [2]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what of a file is in a process's memory")
def test_a_chunk_that_is_no_longer_needed_takes_no_memory_and_is_still_read(tmp_path: Path) -> None:
    arenas = Arenas(tmp_path)
    chunks = [arenas.cut(n, 64, 100) for n in range(20)]
    arena = chunks[0].arena
    assert arena.path is not None
    for chunk in chunks:
        for row in range(64):
            chunk.append(1000 + row, np.full(100, float(row)))
    other = Arena.open(1, arena.path, writable=False)
    theirs = Chunk(7, other, chunks[7].at, 64, 100)
    assert theirs.read(np.arange(100), 0, 9999) is not None
    both = resident(arena.path)
    assert both > 20 * 64 * 100 * 8
    for chunk in chunks[1:19]:
        arenas.release(chunk)
    theirs.leave()
    assert resident(arena.path) < both - 17 * 64 * 100 * 8
    for chunk in (chunks[7], theirs, chunks[19]):
        rows = chunk.read(np.array([3]), 0, 9999)
        assert rows is not None and rows.values[0].tolist() == [float(row) for row in range(64)]
    Arenas(None).cut(1, 8, 3).leave()  # plain memory is nowhere else
