"""Arenas: files mapped into memory that hold new samples. Chunks are cut from an arena one after the other.

A row survives the death of this process as soon as it is written: the page belongs to the file, and the kernel keeps
it. Other processes map the same files and read the same rows. Each row has a checksum, which finds rows that a power
cut tore (see chunk.py).

Space on disk is reserved when an arena is made (posix_fallocate). So a full disk is an error at that point, where the
code handles it, and never a SIGBUS at a later write. Without a folder an arena is plain memory.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import IntArray

WORD = 8
"""Bytes of a word. An arena is one array of int64 and one of float64 over the same bytes."""


def arena_path(folder: Path, number: int) -> Path:
    """Return the path of an arena's file."""
    return folder / f"{number:08}.arena"


class Arena:
    """Words of 8 bytes, handed out from the front. Only one thread may write."""

    __slots__ = ("__weakref__", "_map", "floats", "live", "number", "path", "used", "words")

    def __init__(self, number: int, words: IntArray, path: Path | None, mapped: mmap.mmap | None = None) -> None:
        """`words` is int64 of shape [size]. `mapped` is the mapping of the file that `words` is a view of."""
        self.number, self.words, self.path, self._map = number, words, path, mapped
        self.floats: FloatArray = words.view(np.float64)
        self.used = 0
        self.live = 0
        """Number of chunks in the arena that are still needed."""

    @classmethod
    def make(cls, number: int, size: int, path: Path | None) -> Arena:
        """Make an arena of `size` words, all zero, in a new file at `path`, or in memory if `path` is None.

        Raises OSError when the disk is full or the file cannot be made.
        """
        if path is None:
            return cls(number, np.zeros(size, dtype=np.int64), None)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size * WORD)
            mapped = mmap.mmap(descriptor, size * WORD)
        except (OSError, ValueError):
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        return cls(number, np.frombuffer(mapped, dtype=np.int64), path, mapped)

    @classmethod
    def open(cls, number: int, path: Path, *, writable: bool) -> Arena:
        """Map an existing arena. No more chunks are cut from it. Raises OSError when the file cannot be opened."""
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size // WORD * WORD
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            # An empty file cannot be mapped.
            mapped = mmap.mmap(descriptor, size, access=access) if size else None
            words = np.frombuffer(mapped or b"", dtype=np.int64)
        finally:
            os.close(descriptor)
        arena = cls(number, words, path, mapped)
        arena.used = len(words)
        return arena

    def cut(self, size: int) -> int | None:
        """Hand out `size` words. Return the index of the first one, or None if fewer are left."""
        at = self.used
        if at + size > len(self.words):
            return None
        self.used += size
        self.live += 1
        return at

    def leave(self, at: int, size: int) -> None:
        """Take `size` words from `at` on out of this process's memory; who still reads them gets them from the file."""
        start = -(-at * WORD // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (at + size) * WORD // mmap.PAGESIZE * mmap.PAGESIZE - start
        if self._map is not None and length > 0 and sys.platform == "linux":
            self._map.madvise(mmap.MADV_DONTNEED, start, length)

    def sync(self) -> None:
        """Sync the file to the disk. Blocking, without the interpreter's lock. Raises OSError when that fails."""
        if self.path is not None:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Delete the file. The memory is freed when the last reader is gone."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
