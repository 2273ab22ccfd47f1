"""Memory for samples as they arrive: files mapped into memory, from which chunks are cut one after the other.

A row is durable against the death of this process as soon as it is written: the page belongs to the file, and the
kernel keeps it. Other processes map the same files and read the same rows. What a power cut tears is found by each
row's checksum (see chunk.py).

Space is reserved on disk when an arena is made (posix_fallocate), so that a full disk is an error there, where it can
be handled, and never a SIGBUS at some later write. Without a folder an arena is plain memory.
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
"""Bytes of a word: an arena is an array of int64, or of float64, over the same bytes."""


def arena_path(folder: Path, number: int) -> Path:
    """Return where an arena's file is."""
    return folder / f"{number:08}.arena"


class Arena:
    """Words, handed out from the front. Not for use by two writers."""

    __slots__ = ("__weakref__", "_map", "floats", "live", "number", "path", "used", "words")

    def __init__(self, number: int, words: IntArray, path: Path | None, mapped: mmap.mmap | None = None) -> None:
        """`mapped` is the file's mapping, whose bytes `words` are."""
        self.number, self.words, self.path, self._map = number, words, path, mapped
        self.floats: FloatArray = words.view(np.float64)
        self.used = 0
        self.live = 0
        """Chunks in it that are still needed."""

    @classmethod
    def make(cls, number: int, size: int, path: Path | None) -> Arena:
        """Make an arena of `size` words, all zero: in a new file at `path`, or in memory without one.

        Raises OSError: the disk is full, or the file cannot be made.
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
        """Map an existing arena; nothing more is cut from it. Raises OSError."""
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
        """Hand out `size` words; return where they start, or None if there are not so many left."""
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
        """Write what is in memory to the disk. Blocking; other threads go on. Raises OSError."""
        if self.path is not None:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Delete the file. The memory goes with the last reader of it."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
