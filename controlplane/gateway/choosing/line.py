"""How many requests wait for one version in each worker, in shared memory."""

from __future__ import annotations

from controlplane.gateway.choosing.memory import Memory, key_of
from controlplane.gateway.seams import COLUMNS


class Line:
    """The row of one version. A worker that has none sees only its own requests."""

    def __init__(self, model: str, version: str, memory: Memory) -> None:
        self._memory = memory
        self._key = key_of("waiting", model, version)
        self._wanted = False
        self._row: int | None = None
        self._count = 0

    def want(self, wanted: bool) -> None:
        """Hold a row, or give it back. Only a version with a limit of open requests needs one."""
        self._wanted = wanted
        if wanted:
            self.place()
        elif self._row is not None:
            self._memory.waiting[self._row * COLUMNS + self._memory.column] = 0
            self._memory.lanes.drop(self._row)
            self._row = None

    def place(self) -> bool:
        """Find the row, if one is wanted. Return whether nothing is missing."""
        if self._wanted and self._row is None:
            self._row = self._memory.lanes.hold(self._key)
            self.publish(self._count)
        return not self._wanted or self._row is not None

    def publish(self, count: int) -> None:
        """Say how many requests wait in this worker."""
        self._count = count
        if self._row is not None:
            self._memory.waiting[self._row * COLUMNS + self._memory.column] = count

    def others(self) -> int:
        """Return how many requests wait in the other workers."""
        return sum(self._counts())

    def contenders(self) -> int:
        """Return the number of other workers in which requests wait."""
        return sum(count > 0 for count in self._counts())

    def _counts(self) -> list[int]:
        if self._row is None:
            return []
        start = self._row * COLUMNS
        return [self._memory.waiting[start + column] for column in self._memory.peers]
