"""A region of shared memory with the metrics of one process: a directory of series as text, and float64 cells.

One process writes, any number read. The layout, in bytes:

    0          header: magic, bytes of the directory in use, number of series refused (uint64 each)
    64         directory: entries one after another, each aligned to 8 bytes
    DIRECTORY  cells: float64

An entry is (length of its text, CRC-32 of all that follows, first cell, number of cells: uint32 each) and its text. The
writer completes an entry and then raises the directory's length by one store of 8 aligned bytes. A writer that is
killed before that store leaves no trace: the next writer uses the place again. A cell changes by one store of 8 aligned
bytes. So a kill at any instant loses at most the one addition that was being made.

The memory has its full size from the start and never moves. Linux gives it pages only where it was written.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from controlplane.gateway.errors import GatewayError

SIZE = 8 * 2**20
"""Bytes of a region."""
_DIRECTORY_END = 6 * 2**20
"""Start of the cells. 6 MiB hold some 40,000 entries of 150 bytes: 3,000 backends with a dozen series each."""
_DIRECTORY_START = 64
_MAGIC = int.from_bytes(b"CPTELEM1", "little")
_ENTRY = Struct("<IIII")
_AFTER_CRC = Struct("<II")
_SCRAP = 64
"""Cells at the end for series that found no place. Nobody reads them. Above the cells of any histogram."""


class Entry(NamedTuple):
    """One series: its text, and the place of its cells."""

    text: str
    first: int
    cells: int


class Region:
    """One region. The process that calls `allocate` is its only writer."""

    def __init__(self, fd: int) -> None:
        """Map the region of a file descriptor. It may be closed afterwards.

        Raises GatewayError when the memory is too small, or was laid out by another release.
        """
        if os.fstat(fd).st_size < SIZE:
            raise GatewayError(f"the memory for metrics has {os.fstat(fd).st_size} bytes and needs {SIZE}")
        self._map = mmap.mmap(fd, SIZE)
        self._header = memoryview(self._map)[:_DIRECTORY_START].cast("Q")
        self.cells = memoryview(self._map)[_DIRECTORY_END:].cast("d")
        """All cells, float64."""
        if self._header[0] == 0:
            self._header[0] = _MAGIC
        elif self._header[0] != _MAGIC:
            raise GatewayError("the memory for metrics was laid out by another release; start the gateway again")
        self._used = 0
        self._next = 0

    @staticmethod
    def create(name: str) -> int:
        """Return the file descriptor of a new, empty region. It lives until its last user has gone."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        os.ftruncate(fd, SIZE)
        return fd

    @property
    def refused(self) -> int:
        """Number of series that found no place."""
        return self._header[2]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries that were completed since the last call of this object."""
        end = min(self._header[1], _DIRECTORY_END - _DIRECTORY_START)
        while self._used < end:
            at = _DIRECTORY_START + self._used
            length, checksum, first, cells = _ENTRY.unpack_from(self._map, at)
            text_at = at + _ENTRY.size
            body = self._map[text_at : text_at + length]
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
        if at + size > _DIRECTORY_END or first + cells > len(self.cells) - _SCRAP:
            self._header[2] += 1
            return len(self.cells) - _SCRAP
        # Cells of an entry that was never completed may hold a value.
        for cell in range(first, first + cells):
            self.cells[cell] = 0.0
        _ENTRY.pack_into(self._map, at, len(body), crc32(body, crc32(_AFTER_CRC.pack(first, cells))), first, cells)
        self._map[at + _ENTRY.size : at + _ENTRY.size + len(body)] = body
        self._used += size
        self._next = first + cells
        self._header[1] = self._used  # the commit: one store
        return first

    def close(self) -> None:
        """Unmap the memory. Cells that were handed out must not be used afterwards."""
        self._header.release()
        self.cells.release()
        self._map.close()


def _padded(size: int) -> int:
    return (size + 7) & ~7
