"""The arenas in use: which one chunks are cut from, and when an old one can go."""

from __future__ import annotations

import logging
from pathlib import Path

from controlplane.metrics.storage.arena import WORD, Arena, arena_path
from controlplane.metrics.storage.chunk import Chunk, words_of

log = logging.getLogger(__name__)

SMALLEST, LARGEST = 2**20, 2**23
"""Words of an arena, 8 MiB to 64 MiB: half of what is in use, so that a small fleet takes little disk, and a query over
a large one reads few arenas. Each start begins a new one, so arenas that are nearly empty do not count: a process that
is started every few seconds must not fill the disk with ever larger ones."""


class Arenas:
    """Cuts chunks. Not for use by two threads at once."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` is where arenas are files; None: in memory."""
        self.folder = folder
        self.used: dict[int, Arena] = {}
        """By number."""
        self.spare: Arena | None = None
        """Made beforehand, where making one must not hold anybody up."""
        self.nbytes = 0
        """Bytes of the chunks that are needed."""
        self._current: Arena | None = None
        self._next = 1

    def cut(self, number: int, rows: int, columns: int) -> Chunk:
        """Return a new chunk. Raises OSError when its arena cannot be made."""
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
        """Return number and words of the next arena."""
        number, self._next = self._next, self._next + 1
        return number, max(size, min(LARGEST, max(SMALLEST, self.nbytes // WORD // 2)))

    def _path(self, number: int) -> Path | None:
        return arena_path(self.folder, number) if self.folder else None

    def wanted(self, *, always: bool = False) -> tuple[int, int, Path | None] | None:
        """Return number, words and path of the spare that should be made now: the current arena is half used."""
        current = self._current
        due = always or (current is not None and current.used > len(current.words) // 2)
        if self.spare is not None or not due:
            return None
        number, size = self._plan()
        return number, size, self._path(number)

    def adopt(self, arena: Arena, nbytes: int) -> None:
        """Take in an arena of an earlier run, `nbytes` of which are chunks that are needed."""
        self.used[arena.number] = arena
        self.nbytes += nbytes
        self.skip(arena.number)

    def skip(self, number: int) -> None:
        """Never use this number for an arena."""
        self._next = max(self._next, number + 1)

    def release(self, chunk: Chunk) -> None:
        """Say that a chunk is no longer needed; its arena goes with its last chunk."""
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
        """Bytes of all arenas."""
        spare = len(self.spare.words) if self.spare else 0
        return (spare + sum(len(a.words) for a in list(self.used.values()))) * WORD

    def sync(self) -> None:
        """Write all arenas to the disk. Blocking; chunks may be cut and released meanwhile. Raises OSError."""
        for arena in list(self.used.values()):
            try:
                arena.sync()
            except FileNotFoundError:
                if arena.number in self.used:
                    raise

    def close(self) -> None:
        """Delete the spare: the next run does not know it."""
        spare, self.spare = self.spare, None
        if spare is not None:
            self._drop(spare)
