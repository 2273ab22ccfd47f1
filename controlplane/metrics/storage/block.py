"""Blocks: a block has the rows of one layout of one source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import IntArray, Rows
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.eras import Eras
from controlplane.metrics.storage.errors import CorruptData

CHUNK_ROWS = 64
"""Rows of a chunk of full size: 16 minutes of 15 s scrapes. Chosen: twice as many rows pack 5% smaller, and keep a
third more unpacked in memory."""

FIRST_CHUNK_ROWS = 8
"""Rows of a block's first chunk. Each further chunk is four times as large, up to CHUNK_ROWS. Chosen: a layout may be
short-lived."""

AnyChunk = Chunk | PackedChunk


class Block:
    """Rows in time order, in chunks. Column `i` is the layout's raw series `i`.

    `chunks` is a tuple that is replaced and never changed. So readers need no lock.
    """

    __slots__ = ("chunks", "columns", "damaged", "era", "eras", "made", "number", "source")

    def __init__(self, number: int, source: str, columns: int, era: int = 0, eras: Eras | None = None) -> None:
        self.number, self.source, self.columns = number, source, columns
        self.era, self.eras = era, eras or Eras()
        self.chunks: tuple[AnyChunk, ...] = ()
        self.made = 0
        """Number of chunks ever made. It decides the size of the next one."""
        self.damaged: set[int] = set()
        """Numbers of chunks that are damaged. Reading skips them."""

    @property
    def next_rows(self) -> int:
        """Number of rows of the next chunk."""
        grown: int = FIRST_CHUNK_ROWS << 2 * min(self.made, 8)
        return min(CHUNK_ROWS, grown)

    @property
    def hidden(self) -> tuple[tuple[int, int], ...]:
        """Intervals `[from, to)`, unix milliseconds, in which a later era hides this block's rows. Sorted, disjoint."""
        return self.eras.hidden(self.era)

    @property
    def newest_ms(self) -> int:
        """Unix milliseconds of the last row. 0 without a row."""
        for chunk in reversed(self.chunks):
            if chunk.count:
                return int(chunk.last_ms)
        return 0

    @property
    def ended(self) -> bool:
        """Whether the last row is an end row."""
        for chunk in reversed(self.chunks):
            if chunk.count:
                if isinstance(chunk, Chunk):
                    return bool(len(ends := chunk.ends())) and int(ends[-1]) == chunk.count - 1
                try:
                    return bool(chunk.packed.times_and_ends()[1][-1])
                except CorruptData:
                    self.damaged.add(chunk.number)
        return False

    def append(self, timestamp_ms: int, values: FloatArray | None, cut: Callable[[Block], Chunk]) -> None:
        """Append one row of `values` [columns]. None means an end row: every column is stale.

        `cut` makes a new chunk when one is needed.
        """
        chunk = next(iter(self.chunks[-1:]), None)
        if not isinstance(chunk, Chunk) or chunk.full:
            chunk = cut(self)
        chunk.append(timestamp_ms, values)

    def add(self, chunk: AnyChunk) -> None:
        """Add a chunk that is newer than all others."""
        self.made += 1
        self.chunks = (*self.chunks, chunk)

    def replace(self, old: AnyChunk, new: PackedChunk) -> None:
        """Replace a chunk by the packed chunk that was made from it."""
        self.chunks = tuple(new if c is old else c for c in self.chunks)

    def read(self, columns: IntArray, after_ms: int, until_ms: int) -> Iterator[Rows]:
        """Yield some columns (int64 of shape [n]) of the rows with `after_ms < time <= until_ms`, oldest first.

        Rows that a later era hides are left out. A damaged chunk is left out too, and is added to `damaged`.
        """
        for start, end in self.hidden:
            if start <= until_ms and end > after_ms:
                if start > after_ms:
                    yield from self._read(columns, after_ms, start - 1)
                after_ms = end - 1
        if after_ms < until_ms:
            yield from self._read(columns, after_ms, until_ms)

    def _read(self, columns: IntArray, after_ms: int, until_ms: int) -> Iterator[Rows]:
        for chunk in self.chunks:
            if not chunk.count or chunk.first_ms > until_ms or chunk.number in self.damaged:
                continue
            if isinstance(chunk, PackedChunk) and chunk.last_ms <= after_ms:
                continue
            try:
                rows = chunk.read(columns, after_ms, until_ms)
            except CorruptData:
                self.damaged.add(chunk.number)
                continue
            if rows is not None:
                yield rows

    def has_data(self, start_ms: int, end_ms: int) -> bool:
        """Return whether `[start_ms, end_ms]` has a row that is not an end row."""
        nothing = np.empty(0, dtype=np.int64)
        return any(not rows.ends.all() for rows in self.read(nothing, start_ms - 1, end_ms))

    def drop(self, gone: Callable[[AnyChunk], bool]) -> list[AnyChunk]:
        """Drop the chunks for which `gone` is true. Return them."""
        dropped = {c: None for c in self.chunks if gone(c)}
        if dropped:
            self.chunks = tuple(c for c in self.chunks if c not in dropped)
        return list(dropped)
