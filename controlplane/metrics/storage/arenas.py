"""The arenas in use. New chunks are cut from the current one, and an arena without needed chunks is deleted."""

from __future__ import annotations

import logging
from pathlib import Path

from controlplane.metrics.storage.arena import WORD, Arena, arena_path
from controlplane.metrics.storage.chunk import Chunk, words_of

log = logging.getLogger(__name__)

SMALLEST, LARGEST = 2**20, 2**23
"""Least and greatest size of an arena in words: 8 MiB and 64 MiB. Between them a new arena is half as large as the
needed chunks. So a small fleet takes little disk, and a query over a large fleet reads few arenas. Each start begins a
new arena, and nearly empty arenas do not count for the size. Otherwise a process that restarts every few seconds would
fill the disk with ever larger arenas."""


class Arenas:
    """All arenas of one folder or of memory. Not for use by two threads at once."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` has the files of the arenas. None means arenas in memory."""
        self.folder = folder
        self.used: dict[int, Arena] = {}
        """Arenas by number."""
        self.spare: Arena | None = None
        """The next arena, made in advance so that the thread that appends does not wait for the disk."""
        self.nbytes = 0
        """Bytes of the chunks that are still needed."""
        self._current: Arena | None = None
        self._next = 1

    def cut(self, number: int, rows: int, columns: int) -> Chunk:
        """Return a new chunk. Raises OSError when a new arena cannot be made for it."""
        size = words_of(rows, columns)
        at = self._current.cut(size) if self._current else None
        if at is None:
            self._advance(size)
            assert self._current is not None
            at = self._current.cut(size)
            assert at is not None
        assert self._current is not None
        self.nbytes += size * WORD
        return Chunk(number, self._current, at, rows, columns)

    def undo(self, chunk: Chunk) -> None:
        """Take back the chunk that was cut last."""
        chunk.arena.used = chunk.at
        chunk.arena.live -= 1
        self.nbytes -= chunk.nbytes

    def _advance(self, size: int) -> None:
        if self.spare is not None and len(self.spare.words) >= size:
            fresh, self.spare = self.spare, None
        else:
            fresh = self._make(size)
        old, self._current = self._current, fresh
        self.used[fresh.number] = fresh
        if old is not None and not old.live:
            self._drop(old)

    def _make(self, size: int) -> Arena:
        number, wanted = self._plan(size)
        return Arena.make(number, wanted, self._path(number))

    def _plan(self, size: int = 0) -> tuple[int, int]:
        """Return the number of the next arena and its size in words."""
        number, self._next = self._next, self._next + 1
        return number, max(size, min(LARGEST, max(SMALLEST, self.nbytes // WORD // 2)))

    def _path(self, number: int) -> Path | None:
        return arena_path(self.folder, number) if self.folder else None

    def wanted(self, *, always: bool = False) -> tuple[int, int, Path | None] | None:
        """Return number, size in words and path of the spare arena if it should be made now, else None.

        It should be made once the current arena is half used, or if `always`.
        """
        current = self._current
        due = always or (current is not None and current.used > len(current.words) // 2)
        if self.spare is not None or not due:
            return None
        number, size = self._plan()
        return number, size, self._path(number)

    def adopt(self, arena: Arena, nbytes: int) -> None:
        """Add an arena of an earlier run. `nbytes` of it are chunks that are still needed."""
        self.used[arena.number] = arena
        self.nbytes += nbytes
        self.skip(arena.number)

    def skip(self, number: int) -> None:
        """Never use this number for an arena."""
        self._next = max(self._next, number + 1)

    def release(self, chunk: Chunk) -> None:
        """Free a chunk. An arena is deleted when its last chunk is freed."""
        arena = chunk.arena
        arena.live -= 1
        self.nbytes -= chunk.nbytes
        if not arena.live and arena is not self._current:
            self._drop(arena)
        else:
            chunk.leave()

    def _drop(self, arena: Arena) -> None:
        self.used.pop(arena.number, None)
        try:
            arena.remove()
        except OSError as error:
            log.warning("metrics: %s cannot be deleted (%s); the next start does it", arena.path, error)

    @property
    def reserved(self) -> int:
        """Size of all arenas in bytes, the spare included."""
        spare = len(self.spare.words) if self.spare else 0
        return (spare + sum(len(a.words) for a in list(self.used.values()))) * WORD

    def sync(self) -> None:
        """Sync all arenas to the disk. Blocking. Chunks may be cut and freed meanwhile. Raises OSError on failure."""
        for arena in list(self.used.values()):
            try:
                arena.sync()
            except FileNotFoundError:
                if arena.number in self.used:
                    raise

    def close(self) -> None:
        """Delete the spare arena: no record of the journal refers to it."""
        spare, self.spare = self.spare, None
        if spare is not None:
            self._drop(spare)
