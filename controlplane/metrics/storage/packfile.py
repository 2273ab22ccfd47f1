"""Pack files: files of packed chunks, written once from front to back and read through a memory map.

A file gets its full length at once, without disk blocks. So it is mapped once and read while it still grows. The
journal has the places of the chunks. The file itself has no index.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from controlplane.metrics.storage.errors import CorruptData
from controlplane.metrics.storage.packing import Packed

FILE_BYTES = 64 * 2**20
"""Length in bytes at which a file is finished and the next one begins. Chosen."""

AROUND = 64 * 2**10
"""Linux brings the whole stretch of such a length into memory of which one byte is read."""


def pack_path(folder: Path, number: int, *, recorded: bool) -> Path:
    """Return the path of a pack file."""
    return folder / f"{number:08}.{'rec' if recorded else 'raw'}"


class PackFile:
    """One pack file."""

    __slots__ = ("_descriptor", "_map", "_view", "end", "live", "newest_ms", "number", "oldest_ms", "path", "recorded")

    def __init__(self, number: int, path: Path, *, recorded: bool) -> None:
        self.number, self.path, self.recorded = number, path, recorded
        self.end = 0
        """Bytes written."""
        self.live = 0
        """Number of chunks in the file that are still needed."""
        self.oldest_ms: int | None = None
        self.newest_ms = 0
        """Least and greatest unix milliseconds of the last rows of its chunks."""
        self._descriptor: int | None = None
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None
        """Of the mapping."""

    @classmethod
    def find(cls, folder: Path, number: int) -> PackFile | None:
        """Return the file with this number, of scraped or of recorded series. None if there is none."""
        for recorded in (False, True):
            path = pack_path(folder, number, recorded=recorded)
            if path.exists():
                return cls(number, path, recorded=recorded)
        return None

    def append(self, data: bytes, last_ms: int) -> int:
        """Append a packed chunk whose last row has the time `last_ms`. Return its offset in bytes.

        Raises OSError when that fails. Nothing is added then.
        """
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
        self.note(last_ms)
        return offset

    def note(self, last_ms: int) -> None:
        """Note the time of the last row of a chunk in this file."""
        self.newest_ms = last_ms if self.oldest_ms is None else max(last_ms, self.newest_ms)
        self.oldest_ms = last_ms if self.oldest_ms is None else min(last_ms, self.oldest_ms)

    def packed(self, offset: int, size: int, place: str) -> Packed:
        """Return the packed chunk at `offset`. `place` names it in errors.

        Raises CorruptData when the chunk is damaged, or the file is gone or too short.
        """
        if self._view is None or offset + size > len(self._view):
            try:
                self.map()
            except OSError as error:
                raise CorruptData(f"{self.path}: {error}") from error
        assert self._view is not None
        if offset + size > len(self._view):
            raise CorruptData(f"{self.path}: it ends before {place}")
        packed = Packed(self._view[offset : offset + size], f"{self.path}, {place}")
        self._leave(offset)
        return packed

    def _leave(self, offset: int) -> None:
        """Take what reading a head brought into this process's memory out again: queries read few of the chunks."""
        start = offset // AROUND * AROUND
        if self._map is not None and sys.platform == "linux":
            self._map.madvise(mmap.MADV_DONTNEED, start, min(2 * AROUND, len(self._map) - start))

    def map(self) -> None:
        """Map the file with its present length. Raises OSError when that fails."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            # An empty file cannot be mapped.
            self._map = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) if size else None
            self._view = memoryview(self._map or b"")
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Sync the file to the disk. Blocking. The file may be removed meanwhile. Raises OSError when that fails."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Close the file for appending and cut off its unused length. Raises OSError when that fails."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                os.ftruncate(descriptor, self.end)
            finally:
                os.close(descriptor)

    def cut_to(self, end: int) -> None:
        """Cut off the unused length after `end` of a file of an earlier run. Raises OSError when that fails.

        A file that a copy of the folder shares was finished: what is after `end` was a chunk that the copy still needs.
        """
        found = self.path.stat()
        if found.st_size > end and found.st_nlink == 1:
            os.truncate(self.path, end)

    def remove(self) -> None:
        """Delete the file. The memory is freed when the last reader is gone."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self.path.unlink(missing_ok=True)
