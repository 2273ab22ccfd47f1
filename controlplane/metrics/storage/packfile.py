"""Files of packed chunks: written once from front to back, read by mapping them into memory.

A file is given its full length at once, without disk blocks behind it, so that it is mapped once and read while it
still grows. What was written where is in the journal; the file itself has no index.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from controlplane.metrics.storage.errors import CorruptData
from controlplane.metrics.storage.packing import Packed

FILE_BYTES = 64 * 2**20
"""A file that grew this long is followed by another."""


class PackFile:
    """One file. `newest_ms` is the time of its newest row."""

    __slots__ = ("_descriptor", "_view", "end", "live", "newest_ms", "number", "oldest_ms", "path", "recorded")

    def __init__(self, number: int, path: Path, *, recorded: bool) -> None:
        self.number, self.path, self.recorded = number, path, recorded
        self.end = 0
        """Bytes written."""
        self.live = 0
        """Chunks in it that are still needed."""
        self.oldest_ms: int | None = None
        self.newest_ms = 0
        self._descriptor: int | None = None
        self._view: memoryview | None = None

    def append(self, data: bytes, first_ms: int, last_ms: int) -> int:
        """Write a packed chunk; return where it lies. Raises OSError, and then nothing was added."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._descriptor, max(FILE_BYTES, self.end + len(data)))
        elif self.end + len(data) > FILE_BYTES:  # only a first chunk larger than a whole file gets here
            os.ftruncate(self._descriptor, self.end + len(data))
            self._view = None
        offset, written = self.end, 0
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], offset + written)
        self.end += written
        self.live += 1
        self.note(first_ms, last_ms)
        return offset

    def note(self, first_ms: int, last_ms: int) -> None:
        """Take in the times of a chunk that lies here."""
        self.oldest_ms = first_ms if self.oldest_ms is None else min(first_ms, self.oldest_ms)
        self.newest_ms = max(last_ms, self.newest_ms)

    def packed(self, offset: int, size: int, place: str) -> Packed:
        """Return the packed chunk at `offset`. Raises CorruptData, also when the file is gone or too short."""
        if self._view is None or offset + size > len(self._view):
            self._view = self._map()
        if offset + size > len(self._view):
            raise CorruptData(f"{self.path}: it ends before {place}")
        return Packed(self._view[offset : offset + size], f"{self.path}, {place}")

    def _map(self) -> memoryview:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise CorruptData(f"{self.path}: {error}") from error

    def sync(self) -> None:
        """Write what the kernel holds to the disk. Blocking. Raises OSError."""
        if self._descriptor is not None:
            os.fdatasync(self._descriptor)

    def finish(self) -> None:
        """Write no more: give back the length that was not used. Raises OSError."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, self.end)
            os.close(self._descriptor)
            self._descriptor = None

    def cut_to(self, end: int) -> None:
        """Give back the length behind `end` of a file of an earlier run. Raises OSError."""
        if self.path.stat().st_size > end:
            os.truncate(self.path, end)

    def remove(self) -> None:
        """Delete the file. The memory goes with the last reader of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self.path.unlink(missing_ok=True)
