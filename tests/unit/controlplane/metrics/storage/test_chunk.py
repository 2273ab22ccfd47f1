from __future__ import annotations

import numpy as np
import pytest

from controlplane.metrics.arrays import STALE_BITS
from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.block import CHUNK_ROWS, Block
from controlplane.metrics.storage.chunk import END_ROW, MARKED_ROW, Chunk, PackedChunk, words_of
from controlplane.metrics.storage.packing import Packed, pack

STALE = np.array([STALE_BITS]).view(np.float64)[0]


def chunk_of(rows: int, columns: int, filled: int = 0) -> Chunk:
    arena = Arena.make(1, words_of(rows, columns), None)
    at = arena.cut(words_of(rows, columns))
    assert at == 0
    chunk = Chunk(1, arena, at, rows, columns)
    for row in range(filled):
        chunk.append(100 + row, np.arange(columns, dtype=np.float64) + row)
    return chunk


def packed(chunk: Chunk) -> PackedChunk:
    times, values, flags = chunk.rows()
    return PackedChunk(chunk.number, Packed(pack(times, values, (flags & END_ROW) != 0), "here"), 1, 0)


def test_rows_are_counted_once_they_are_whole() -> None:
    chunk = chunk_of(3, 2)
    assert (chunk.count, chunk.full) == (0, False)
    with pytest.raises(ValueError, match="broadcast"):
        chunk.append(5, np.zeros(7))
    with pytest.raises(OverflowError):
        chunk.append(1 << 70, np.zeros(2))
    assert chunk.count == 0
    chunk.append(5, np.array([1.0, 2.0]))
    chunk.append(6, None)
    chunk.append(7, np.array([STALE, 2.0]))
    assert (chunk.count, chunk.full, chunk.first_ms, chunk.last_ms) == (3, True, 5, 7)
    assert (chunk.rows()[2] & (END_ROW | MARKED_ROW)).tolist() == [0, END_ROW, MARKED_ROW]
    assert chunk.ends().tolist() == [1]


@pytest.mark.parametrize("made", [chunk_of(8, 3, 5), packed(chunk_of(8, 3, 5))])
@pytest.mark.parametrize(
    ("after", "until", "times"),
    [
        (0, 1000, [100, 101, 102, 103, 104]),
        (100, 103, [101, 102, 103]),
        (99, 100, [100]),
        (103, 104, [104]),
        (104, 1000, None),
        (0, 99, None),
        (102, 102, None),
        (-(1 << 62), 1 << 62, [100, 101, 102, 103, 104]),
    ],
)
def test_a_window_is_open_on_the_left(
    made: Chunk | PackedChunk, after: int, until: int, times: list[int] | None
) -> None:
    rows = made.read(np.array([2, 0]), after, until)
    assert (rows and rows.times.tolist()) == times
    if rows is not None and times is not None:
        assert rows.values.tolist() == [[t - 100 + 2.0 for t in times], [t - 100.0 for t in times]]
        assert not rows.ends.any()


@pytest.mark.parametrize("broken", range(5))
@pytest.mark.parametrize("part", ["time", "meta", "value"])
def test_mending_leaves_out_the_row_that_is_broken(broken: int, part: str) -> None:
    chunk = chunk_of(8, 3, 5)
    row = {"time": chunk._times, "meta": chunk._meta, "value": chunk.arena.words[1 + 16 :].reshape(8, 3)[:, 1]}[part]
    row[broken] ^= 1 << 20
    assert chunk.mend() == 1
    left = [100 + n for n in range(5) if n != broken]
    assert chunk.count == 4
    assert chunk.rows()[0].tolist() == left
    assert chunk.first_ms == left[0]
    chunk.append(200, np.zeros(3))
    assert chunk.mend() == 0
    rows = chunk.read(np.array([0]), 0, 1000)
    assert rows is not None
    assert rows.times.tolist() == [*left, 200]
    assert rows.values.tolist() == [[*(t - 100.0 for t in left), 0.0]]


def test_mending_does_not_bring_back_rows_that_were_cut_off_before() -> None:
    chunk = chunk_of(8, 3, 5)
    chunk._values[1] = 0
    chunk._values[4] = 0
    assert chunk.mend() == 2
    assert chunk.mend() == 0
    assert chunk.rows()[0].tolist() == [100, 102, 103]


@pytest.mark.parametrize("columns", [0, 3])
@pytest.mark.parametrize(("claimed", "lost"), [(-1, 0), (1 << 50, 0), (8, 3), (0, 0), (4, 0)])
def test_a_count_that_is_wrong(columns: int, claimed: int, lost: int) -> None:
    """Rows of no columns check whatever they are, but for their times: there the count must be believed."""
    chunk = chunk_of(8, columns, 5)
    chunk.arena.words[chunk.at] = claimed
    assert chunk.mend() == lost
    assert chunk.count == (5 if columns or claimed == 8 else max(0, claimed) if claimed <= 8 else 0)


def test_a_block_starts_small_and_grows() -> None:
    block = Block(1, "t", 2)
    arena = Arena.make(1, 10_000, None)
    sizes = []

    def cut(block: Block) -> Chunk:
        at = arena.cut(words_of(block.next_rows, 2))
        assert at is not None
        chunk = Chunk(block.made, arena, at, block.next_rows, 2)
        sizes.append(chunk.capacity)
        block.add(chunk)
        return chunk

    for row in range(200):
        block.append(row, np.zeros(2), cut)
    assert sizes == [8, 32, CHUNK_ROWS, CHUNK_ROWS, CHUNK_ROWS]
    assert (block.newest_ms, block.ended) == (199, False)
    block.append(200, None, cut)
    assert (block.newest_ms, block.ended) == (200, True)
    assert block.has_data(199, 200)
    assert not block.has_data(200, 500)
    old = block.chunks[0]
    assert isinstance(old, Chunk)
    block.replace(old, packed(old))
    assert [rows.times[0] for rows in block.read(np.array([0]), -1, 1000)] == [0, 8, 40, 104, 168]
    gone = block.drop(lambda chunk: chunk.last_ms < 168)
    assert [chunk.last_ms for chunk in gone] == [7, 39, 103, 167]
    assert not block.has_data(0, 167)
    assert block.drop(lambda chunk: False) == []


def test_a_block_leaves_a_damaged_chunk_out_and_remembers_it() -> None:
    data = bytearray(pack(np.array([1, 2]), np.ones((2, 3)), np.array([False, True])))
    data[-1] ^= 1
    block = Block(1, "t", 3)
    block.add(PackedChunk(7, Packed(bytes(data), "here"), 1, 0))
    block.add(packed(chunk_of(8, 3, 5)))
    assert [rows.times.tolist() for rows in block.read(np.array([1]), 0, 1000)] == [[100, 101, 102, 103, 104]]
    assert block.damaged == {7}
    data[56] ^= 1
    worse = Block(2, "t", 3)
    worse.add(PackedChunk(8, Packed(bytes(data), "here"), 1, 0))
    assert worse.ended is False
    assert worse.damaged == {8}
