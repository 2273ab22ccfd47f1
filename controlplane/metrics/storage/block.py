"""The rows of one layout of one source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import IntArray, Rows
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.eras import Eras
from controlplane.metrics.storage.errors import CorruptData

CHUNK_ROWS = 64
"""Rows of a full-grown chunk: 16 minutes of 15 s scrapes. Twice as many would pack 5% smaller and keep a third more in
memory unpacked."""

FIRST_CHUNK_ROWS = 8
"""Layouts may be short-lived, so a block starts small and grows fourfold a chunk."""

AnyChunk = Chunk | PackedChunk


class Block:
    """Rows in time order, in chunks. `chunks` is a tuple that is replaced, never mutated: readers need no lock.

    Column `i` is the layout's raw series `i`.
    """

    __slots__ = ("chunks", "columns", "damaged", "era", "eras", "made", "number", "source")

    def __init__(self, number: int, source: str, columns: int, era: int = 0, eras: Eras | None = None) -> None:
        self.number, self.source, self.columns = number, source, columns
        self.era, self.eras = era, eras or Eras()
        self.chunks: tuple[AnyChunk, ...] = ()
        self.made = 0
        """Chunks ever made: it decides the size of the next one."""
        self.damaged: set[int] = set()
        """Chunks that turned out not to be what was written; they are read as if they were not there."""

    @property
    def next_rows(self) -> int:
        """Rows that the next chunk should hold."""
        grown: int = FIRST_CHUNK_ROWS << 2 * min(self.made, 8)
        return min(CHUNK_ROWS, grown)

    @property
    def hidden(self) -> tuple[tuple[int, int], ...]:
        """Stretches of time `[from, to)`, in order and apart, whose rows a later era hides."""
        return self.eras.hidden(self.era)

    @property
    def newest_ms(self) -> int:
        """Time of the last row; 0 without one."""
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
        """Add one row, `None` for an end row (every column stale). `cut` makes a chunk when one is needed."""
        chunk = next(iter(self.chunks[-1:]), None)
        if not isinstance(chunk, Chunk) or chunk.full:
            chunk = cut(self)
        chunk.append(timestamp_ms, values)

    def add(self, chunk: AnyChunk) -> None:
        """Take a chunk that is newer than all others."""
        self.made += 1
        self.chunks = (*self.chunks, chunk)

    def replace(self, old: AnyChunk, new: PackedChunk) -> None:
        """Put a packed chunk in the place of the one that it was made of."""
        self.chunks = tuple(new if c is old else c for c in self.chunks)

    def read(self, columns: IntArray, after_ms: int, until_ms: int) -> Iterator[Rows]:
        """Yield some columns of the rows with `after_ms < time <= until_ms`, oldest first.

        Rows that a later era hides are left out, and so is a damaged chunk, which is remembered in `damaged`.
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
        """Whether a row that is no end row lies in `[start_ms, end_ms]`."""
        nothing = np.empty(0, dtype=np.int64)
        return any(not rows.ends.all() for rows in self.read(nothing, start_ms - 1, end_ms))

    def drop(self, gone: Callable[[AnyChunk], bool]) -> list[AnyChunk]:
        """Drop chunks; return them."""
        dropped = {c: None for c in self.chunks if gone(c)}
        if dropped:
            self.chunks = tuple(c for c in self.chunks if c not in dropped)
        return list(dropped)
