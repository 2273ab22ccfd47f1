"""Chunks: rows of one block, either in an arena or packed.

Invariant for concurrent readers, in this process and in others: there is one writer. It writes a row completely and
then raises the count. Rows below the count never change. A reader that reads the count once sees a consistent prefix.

A chunk's words in its arena:

    0                     count
    1 .. rows             times
    .. 2 rows             per row: CRC-32 of time, flags and values, and above it the flags END_ROW and MARKED_ROW
    .. (2 + columns) rows values, row after row
"""

from __future__ import annotations

import zlib

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import IntArray, Rows, is_stale, mark_stale
from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.packing import Packed

END_ROW = 1 << 32
"""Flag of a row that only says that the source's series ended. Its values are staleness markers."""

MARKED_ROW = 1 << 33
"""Flag of a row with some staleness markers among its values. Such rows come by remote write."""

FLAGS = END_ROW | MARKED_ROW


def words_of(rows: int, columns: int) -> int:
    """Return the number of words of a chunk in its arena."""
    return 1 + (2 + columns) * rows


class Chunk:
    """A fixed number of rows in an arena, filled from the front."""

    __slots__ = ("_meta", "_times", "_values", "arena", "at", "capacity", "columns", "first_ms", "number", "sealed")

    def __init__(self, number: int, arena: Arena, at: int, capacity: int, columns: int) -> None:
        self.number, self.arena, self.at, self.capacity, self.columns = number, arena, at, capacity, columns
        values = at + 1 + 2 * capacity
        self._times = arena.words[at + 1 : at + 1 + capacity]
        self._meta = arena.words[at + 1 + capacity : values]
        self._values = arena.floats[values : values + capacity * columns].reshape(capacity, columns)
        self.first_ms = int(self._times[0])
        """Unix milliseconds of the first row. Without meaning if there is no row."""
        self.sealed = False
        """Whether the chunk counts as full although it is not."""

    @property
    def count(self) -> int:
        """Number of rows written."""
        return int(self.arena.words[self.at])

    @property
    def last_ms(self) -> int:
        """Unix milliseconds of the last row. The chunk must have a row."""
        return int(self._times[self.count - 1])

    @property
    def full(self) -> bool:
        """Whether no further row fits."""
        return self.sealed or self.count == self.capacity

    @property
    def nbytes(self) -> int:
        """Bytes that the chunk takes in its arena."""
        return 8 * words_of(self.capacity, self.columns)

    def append(self, timestamp_ms: int, values: FloatArray | None) -> None:
        """Append one row of `values` [columns]. None means an end row: every column is stale. There must be room."""
        row = self.count
        self._times[row] = timestamp_ms
        target = self._values[row]
        if values is None:
            mark_stale(target)
            flag = END_ROW
        else:
            target[:] = values
            flag = MARKED_ROW if is_stale(target).any() else 0
        self._meta[row] = flag | _checksum(timestamp_ms, flag, target)
        if row == 0:
            self.first_ms = timestamp_ms
        self.arena.words[self.at] = row + 1

    def ends(self) -> IntArray:
        """Return the numbers of the end rows: int64 of shape [end rows]."""
        return np.flatnonzero(self._meta[: self.count] & END_ROW)

    def read(self, columns: IntArray, after_ms: int, until_ms: int) -> Rows | None:
        """Return some columns (int64 of shape [n]) of the rows with `after_ms < time <= until_ms`, or None."""
        times = self._times[: self.count]
        first, last = np.searchsorted(times, (after_ms, until_ms), side="right")
        if last <= first:
            return None
        values = np.ascontiguousarray(self._values[first:last].take(columns, axis=1).T)
        return Rows(times[first:last], values, (self._meta[first:last] & END_ROW) != 0)

    def rows(self) -> tuple[IntArray, FloatArray, IntArray]:
        """Return views on all rows: times `[rows]`, values `[rows, columns]`, flags `[rows]`."""
        count = self.count
        return self._times[:count], self._values[:count], self._meta[:count]

    def leave(self) -> None:
        """Take the chunk, which is no longer needed, out of this process's memory."""
        self.arena.leave(self.at, words_of(self.capacity, self.columns))

    def mend(self) -> int:
        """Keep the rows whose checksum is right. Return the number of counted rows that were removed.

        Call it before any append or read. The count itself may be damaged, or older than the rows on disk. Therefore
        rows after the count are kept too if their checksum is right.
        """
        count = self.count
        counted = count if 0 <= count <= self.capacity else 0
        sound = self._sound_rows(counted)
        if len(sound) != count or sound[-1:] != [count - 1][:count]:
            rows = np.array(sound, dtype=np.int64)
            for part in (self._times, self._meta, self._values):
                part[: len(rows)] = part[rows]
            self._meta[len(rows) :] = 0
            self.arena.words[self.at] = len(rows)
        self.first_ms = int(self._times[0])
        return max(0, counted - len(sound))

    def _sound_rows(self, counted: int) -> list[int]:
        sound: list[int] = []
        before = None
        # Rows without columns are all equal, so only the count says how many there are.
        last = self.capacity if self.columns else counted
        for row, (time_ms, meta) in enumerate(
            zip(self._times[:last].tolist(), self._meta[:last].tolist(), strict=True)
        ):
            flag = meta & FLAGS
            whole = meta == flag | _checksum(time_ms, flag, self._values[row])
            if whole and (before is None or time_ms > before):
                sound.append(row)
                before = time_ms
            elif row >= counted:
                break
        return sound


def _checksum(timestamp_ms: int, flag: int, values: FloatArray) -> int:
    # The seed includes time and flag in the checksum. That saves a second call.
    return zlib.crc32(values.data, (timestamp_ms ^ timestamp_ms >> 32 ^ flag >> 4) & 0xFFFFFFFF)


class PackedChunk:
    """A chunk whose rows are packed, in a mapped file or in memory."""

    __slots__ = ("columns", "count", "file", "first_ms", "last_ms", "number", "offset", "packed")

    def __init__(self, number: int, packed: Packed, file: int, offset: int) -> None:
        """`file` and `offset` are the place of the packed bytes. File 0 is memory."""
        self.number, self.packed, self.file, self.offset = number, packed, file, offset
        self.count, self.columns = packed.rows, packed.columns
        self.first_ms, self.last_ms = packed.first_ms, packed.last_ms

    @property
    def nbytes(self) -> int:
        """Bytes of the packed rows."""
        return self.packed.size

    def read(self, columns: IntArray, after_ms: int, until_ms: int) -> Rows | None:
        """Return some columns (int64 of shape [n]) of the rows with `after_ms < time <= until_ms`, or None.

        Raises CorruptData when the packed bytes are damaged.
        """
        times, ends = self.packed.times_and_ends()
        first, last = np.searchsorted(times, (after_ms, until_ms), side="right")
        if last <= first:
            return None
        values = self.packed.values(columns, ends)
        return Rows(times[first:last], np.ascontiguousarray(values[:, first:last]), ends[first:last])
