"""The shelf: decides which chunks must be stored, and keeps account of the packs that a run wrote.

All lanes of a run share one. A chunk counts as present only where no prune is about to delete its pack.
"""

from __future__ import annotations

import threading
from collections.abc import Set
from typing import Final

from controlplane.backup.format.pack import Rows
from controlplane.backup.repository import Repository, pack_path

PACKS_IN_A_SEGMENT: Final = 16
"""Packs after which a segment is written, 1 GiB. After a crash the next run reads the tables of fewer packs."""


class Shelf:
    """Chunks and packs of one run. Safe for several threads."""

    def __init__(self, repository: Repository, doomed: Set[str]) -> None:
        """`doomed` has the names of packs that may be deleted during the run."""
        self._repository, self._index, self._doomed = repository, repository.index, doomed
        self._lock = threading.Lock()
        self._claimed: set[bytes] = set()
        self._reused: set[str] = set()
        self._tables: list[tuple[str, Rows]] = []
        self.own: set[str] = set()
        """Names of the packs that this run wrote."""
        self.new_bytes = 0
        """Bytes of those packs."""

    def claim(self, identity: bytes) -> bool:
        """Return whether the caller must store this chunk. Of all callers with one chunk one gets True."""
        with self._lock:
            if identity in self._claimed:
                return False
            if self.has(identity):
                return False
            self._claimed.add(identity)
            return True

    def has(self, identity: bytes) -> bool:
        """Return whether the repository has the chunk from before this run, in a pack that stays."""
        place = next((p for p in self._index.copies(identity) if p.pack not in self._doomed), None)
        if place is None:
            return False
        self._reused.add(place.pack)
        return True

    @property
    def reused(self) -> Set[str]:
        """Names of the earlier packs that this run refers to."""
        return self._reused

    def put(self, name: str, data: memoryview, rows: Rows) -> None:
        """Store a pack, and a segment of the index when enough packs have come together."""
        self._repository.store.put(pack_path(name), data)
        with self._lock:
            self.own.add(name)
            self.new_bytes += len(data)
            self._tables.append((name, rows))
            full = len(self._tables) >= PACKS_IN_A_SEGMENT
            tables, self._tables = (self._tables, []) if full else ([], self._tables)
        if tables:
            self._repository.write_segment(tables)

    def close(self) -> None:
        """Store the last segment of the index."""
        tables, self._tables = self._tables, []
        if tables:
            self._repository.write_segment(tables)
