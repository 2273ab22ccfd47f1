"""Columnar storage of one source's rows.

A block holds the rows of one (source, layout): column `i` is the layout's raw series `i`, rows are scrapes. Rows live
in chunks so that retention drops whole chunks.

Invariant for concurrent readers: there is one writer. A row is written completely, then `count` is raised; rows below
`count` never change; `chunks` is a tuple that is replaced, never mutated. A reader that reads `chunks` once and each
`count` once therefore sees a consistent prefix, without a lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

STALE_BITS = 0x7FF0000000000002
"""Prometheus's staleness marker: a NaN that no computation yields (model/value/value.go)."""

CHUNK_ROWS = 256
"""Rows of a full-grown chunk: 64 minutes of 15 s scrapes."""

FIRST_CHUNK_ROWS = 16
"""Layouts may be short-lived, so a block starts small and grows fourfold a chunk."""


def mark_stale(values: FloatArray) -> None:
    """Overwrite every element with the staleness marker, set as an integer because arithmetic would quiet it."""
    values.view(np.int64)[...] = STALE_BITS


def is_stale(values: FloatArray) -> BoolArray:
    """Return a mask, shaped as `values`, of the elements that are staleness markers. `values` must be contiguous."""
    return np.equal(values.view(np.int64), STALE_BITS)


class Rows(NamedTuple):
    """A run of consecutive rows: views on a chunk, never copies."""

    times: IntArray
    """[rows] unix milliseconds, strictly increasing."""
    values: FloatArray
    """[rows, columns]."""
    ends: BoolArray
    """[rows] true where the row only says that the source's series ended."""


class Chunk:
    """A fixed number of rows, filled from the front."""

    __slots__ = ("count", "ends", "times", "values")

    def __init__(self, rows: int, columns: int) -> None:
        self.times: IntArray = np.empty(rows, dtype=np.int64)
        self.values: FloatArray = np.empty((rows, columns), dtype=np.float64)
        self.ends: BoolArray = np.zeros(rows, dtype=np.bool_)
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether no further row fits."""
        return self.count == len(self.times)

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return int(self.times.nbytes + self.values.nbytes + self.ends.nbytes)


class Block:
    """The rows of one (source, layout), in time order."""

    __slots__ = ("_made", "chunks", "columns")

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.chunks: tuple[Chunk, ...] = ()
        self._made = 0

    @property
    def newest_ms(self) -> int:
        """Time of the last row; 0 without one."""
        return int(self.chunks[-1].times[self.chunks[-1].count - 1]) if self.chunks else 0

    def append(self, timestamp_ms: int, values: FloatArray | None) -> int:
        """Add one row, `None` for an end row (every column stale). Return the bytes that this allocated."""
        allocated = 0
        if not self.chunks or self.chunks[-1].full:
            rows = min(CHUNK_ROWS, FIRST_CHUNK_ROWS * 4 ** min(self._made, 2))
            chunk = Chunk(rows, self.columns)
            self._made += 1
            allocated = chunk.nbytes
            self.chunks = (*self.chunks, chunk)
        chunk = self.chunks[-1]
        row = chunk.count
        chunk.times[row] = timestamp_ms
        if values is None:
            mark_stale(chunk.values[row])
            chunk.ends[row] = True
        else:
            chunk.values[row] = values
        chunk.count = row + 1
        return allocated

    def rows(self, after_ms: int, until_ms: int) -> Iterator[Rows]:
        """Yield the rows with `after_ms < time <= until_ms`, oldest first."""
        for chunk in self.chunks:
            times = chunk.times[: chunk.count]
            if not len(times) or times[0] > until_ms or times[-1] <= after_ms:
                continue
            first, last = np.searchsorted(times, (after_ms, until_ms), side="right")
            if last > first:
                yield Rows(times[first:last], chunk.values[first:last], chunk.ends[first:last])

    def has_data(self, start_ms: int, end_ms: int) -> bool:
        """Whether a row that is no end row lies in `[start_ms, end_ms]`."""
        return any(not rows.ends.all() for rows in self.rows(start_ms - 1, end_ms))

    def drop_before(self, oldest_ms: int) -> int:
        """Drop the chunks whose every row is older than `oldest_ms`. Return the bytes freed."""
        gone = [c for c in self.chunks if c.count and c.times[c.count - 1] < oldest_ms]
        if gone:
            self.chunks = tuple(c for c in self.chunks if c not in gone)
        return sum(c.nbytes for c in gone)
