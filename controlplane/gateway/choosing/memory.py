"""The memory that the workers of a gateway share for choosing: who has which row, and one cell a row and worker.

    lanes       rows of (model, adapter): the counter of tickets; and of (model, version): requests that wait there
    backends    rows of (model, version, backend): open requests, and their outstanding work in tokens

A cell of a row and a column has one writer, the worker of that column, so it needs no lock. A row belongs to its key as
long as a worker holds it. Only the search for a row takes a lock, when a desired state is applied.
"""

from __future__ import annotations

import hashlib

from controlplane.gateway.choosing.locks import try_lock, unlock
from controlplane.gateway.patience import Patience
from controlplane.gateway.seams import COLUMNS, Area

LANES = 2048
"""Rows for pairs of model and adapter, and of model and version. Chosen: some 500 models of two versions."""
BACKENDS = 4096
"""Rows for backends. Chosen: ten times the largest fleet that the control plane is measured with."""

_LANE_KEYS = 0
_TICKETS = _LANE_KEYS + 8 * LANES
_BACKEND_KEYS = _TICKETS + 16 * LANES
_PRESENT = _BACKEND_KEYS + 8 * BACKENDS
_LANE_HELD = _PRESENT + COLUMNS
_BACKEND_HELD = _LANE_HELD + LANES * COLUMNS
_WAITING = _BACKEND_HELD + BACKENDS * COLUMNS
_REQUESTS = _WAITING + 8 * LANES * COLUMNS
_WORK = _REQUESTS + 8 * BACKENDS * COLUMNS
AREA_BYTES = _WORK + 8 * BACKENDS * COLUMNS
"""Length of the area, in bytes. Pages that no row uses cost no memory."""


def key_of(*parts: str) -> int:
    """Return the key of a row: 63 bits of a hash of its names, never 0."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1 or 1


class Directory:
    """Rows by key, agreed on by all workers."""

    def __init__(self, area: Area, column: int, keys: memoryview, held: memoryview, lock: int) -> None:
        self._fd = area.fd
        self._lock = area.offset + lock
        self._keys = keys
        self._held = held
        self._column = column
        self._patience = Patience()

    def hold(self, key: int) -> int | None:
        """Return the row of a key and hold it. None: the directory is locked by a stopped worker, or it is full.

        A row that no worker holds is given to another key. Its cells are zero: a worker zeroes them before it drops it.
        """
        if not try_lock(self._fd, self._lock, self._patience):
            return None
        try:
            row = self._find(key)
            if row is not None:
                self._keys[row] = key
                self._held[row * COLUMNS + self._column] = 1
            return row
        finally:
            unlock(self._fd, self._lock)

    def drop(self, row: int) -> None:
        """Hold a row no more."""
        self._held[row * COLUMNS + self._column] = 0

    def release(self, column: int) -> list[int]:
        """Hold none of the rows for a column any more. Return all rows that have a key."""
        used = [row for row, key in enumerate(self._keys.tolist()) if key]
        for row in used:
            self._held[row * COLUMNS + column] = 0
        return used

    def _find(self, key: int) -> int | None:
        keys: list[int] = self._keys.tolist()
        if key in keys:
            return keys.index(key)
        if 0 in keys:
            return keys.index(0)
        free = bytes(COLUMNS)
        for row in range(len(keys)):
            if self._held[row * COLUMNS : (row + 1) * COLUMNS] == free:
                return row
        return None


class Memory:
    """The shared memory, seen by the worker of one column."""

    def __init__(self, area: Area, column: int) -> None:
        """Take the column over. What the worker before it left there is zeroed."""
        view = area.view
        self.fd = area.fd
        self.column = column
        self.lanes = Directory(
            area, column, _cells(view, _LANE_KEYS, LANES), _flags(view, _LANE_HELD, LANES * COLUMNS), _LANE_KEYS
        )
        self.backends = Directory(
            area,
            column,
            _cells(view, _BACKEND_KEYS, BACKENDS),
            _flags(view, _BACKEND_HELD, BACKENDS * COLUMNS),
            _BACKEND_KEYS,
        )
        self.tickets = _cells(view, _TICKETS, 2 * LANES)
        self.tickets_at = area.offset + _TICKETS
        """Offset of `tickets` in the file, for locks."""
        self.waiting = _cells(view, _WAITING, LANES * COLUMNS)
        self.requests = _cells(view, _REQUESTS, BACKENDS * COLUMNS)
        self.work = _cells(view, _WORK, BACKENDS * COLUMNS)
        self._present = _flags(view, _PRESENT, COLUMNS)
        self._seen = b""
        self.peers: tuple[int, ...] = ()
        """Columns of the other workers."""
        self.clear(column)
        self._present[column] = 1
        self.look()

    def look(self) -> None:
        """Find out which other workers there are."""
        present = bytes(self._present)
        if present != self._seen:
            self._seen = present
            self.peers = tuple(column for column, there in enumerate(present) if there and column != self.column)

    def clear(self, column: int) -> None:
        """Zero what the worker of a column published, and hold its rows no more."""
        self._present[column] = 0
        for row in self.lanes.release(column):
            self.waiting[row * COLUMNS + column] = 0
        for row in self.backends.release(column):
            self.requests[row * COLUMNS + column] = 0
            self.work[row * COLUMNS + column] = 0


def clear_column(area: Area, column: int) -> None:
    """Zero what a worker that died has published. The supervisor calls it."""
    Memory(area, column).clear(column)


def _cells(view: memoryview, start: int, count: int) -> memoryview:
    return view[start : start + 8 * count].cast("B").cast("q")


def _flags(view: memoryview, start: int, count: int) -> memoryview:
    return view[start : start + count].cast("B")
