"""A region of shared memory with the metrics of one process: a directory of series as text, and float64 cells.

One process writes, any number read. The layout, in bytes:

    0          header: fingerprint, bytes of the directory in use, number of series refused (uint64 each)
    64         directory: entries one after another, each aligned to 8 bytes
    CELLS      cells: float64

An entry is (length of its text, CRC-32 of all that follows, first cell, number of cells: uint32 each) and its text. The
writer completes an entry and then raises the directory's length by one store of 8 aligned bytes. A writer that is
killed before that store leaves no trace: the next writer uses the place again. A cell changes by one store of 8 aligned
bytes. So a kill at any instant loses at most the one addition that was being made.

The memory has its full size from the start and never moves. Linux gives it pages only where it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

REGION_BYTES = 6 * 2**20
"""Bytes of a region."""
_CELLS_START = 4 * 2**20
"""4 MiB of directory hold some 28,000 entries of 150 bytes: 1,500 backends with a dozen series each, and the answers of
200 versions in four strata. The cells are 2 MiB: 350 numbers for each of 750 versions."""
_DIRECTORY_START = 64
_ENTRY = Struct("<IIII")
_AFTER_CRC = Struct("<II")
_SCRAP = 64
"""Cells at the end for series that found no place. Nobody reads them. More than any histogram has."""


class Entry(NamedTuple):
    """One series: its text, and the place of its cells."""

    text: str
    first: int
    cells: int


class Region:
    """One region. Only the process that called `claim` may call `allocate` and change cells."""

    def __init__(self, view: memoryview, fingerprint: int) -> None:
        """`view` has REGION_BYTES bytes, all zero at first. `fingerprint` differs for each meaning of its cells: a
        region that another release has written reads as empty."""
        assert len(view) == REGION_BYTES
        self._view, self._fingerprint = view, fingerprint
        self._header = view[:_DIRECTORY_START].cast("Q")
        self.cells: memoryview[float] = view[_CELLS_START:].cast("d")
        """All cells, float64."""
        self._used = 0
        self._next = 0

    def claim(self) -> None:
        """Become the writer. What another release has left is forgotten, as counters are at a restart."""
        if self._header[0] != self._fingerprint:
            self._header[1] = 0
            self._header[2] = 0
            self._header[0] = self._fingerprint

    @property
    def refused(self) -> int:
        """Number of series that found no place."""
        return self._header[2]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries that were completed since the last call of this object."""
        if self._header[0] != self._fingerprint:
            return
        end = min(self._header[1], _CELLS_START - _DIRECTORY_START)
        while self._used < end:
            at = _DIRECTORY_START + self._used
            length, checksum, first, cells = _ENTRY.unpack_from(self._view, at)
            text_at = at + _ENTRY.size
            body = bytes(self._view[text_at : text_at + length])
            if crc32(body, crc32(_AFTER_CRC.pack(first, cells))) != checksum:
                return  # the stores of the writer have not all arrived here: the next call sees them
            self._used += _padded(_ENTRY.size + length)
            self._next = max(self._next, first + cells)
            yield Entry(body.decode(), first, cells)

    def allocate(self, text: str, cells: int) -> int:
        """Return the first cell of a new series. Call `entries` to its end before the first allocation.

        A series without a place gets cells that nobody reads, and is counted.
        """
        body = text.encode()
        size = _padded(_ENTRY.size + len(body))
        at = _DIRECTORY_START + self._used
        first = self._next
        if at + size > _CELLS_START or first + cells > len(self.cells) - _SCRAP:
            self._header[2] += 1
            return len(self.cells) - _SCRAP
        # Cells of an entry that was never completed may hold a value.
        for cell in range(first, first + cells):
            self.cells[cell] = 0.0
        _ENTRY.pack_into(self._view, at, len(body), crc32(body, crc32(_AFTER_CRC.pack(first, cells))), first, cells)
        self._view[at + _ENTRY.size : at + _ENTRY.size + len(body)] = body
        self._used += size
        self._next = first + cells
        self._header[1] = self._used  # the commit: one store
        return first


def _padded(size: int) -> int:
    return (size + 7) & ~7
