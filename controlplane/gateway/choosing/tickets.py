"""Tickets: numbers that all workers take in turn, so that the split of a model's requests holds over all of them."""

from __future__ import annotations

from controlplane.gateway.choosing.locks import try_lock, unlock
from controlplane.gateway.choosing.memory import Memory
from controlplane.gateway.patience import Patience


class Tickets:
    """The counter of one row, taken under a lock.

    A row has two counters, each with a lock of its own. While a stopped worker holds the first, the others count on in
    the second, which starts one above the first: the stopped worker will take the ticket between. Each ticket is the
    larger of the two, so that the sequence goes on without a gap when the worker runs again. While both are held, each
    worker counts alone.
    """

    def __init__(self, memory: Memory, row: int | None) -> None:
        """`row` is None when the directory had no row: this worker counts alone."""
        self._memory = memory
        self._cells = memory.tickets
        self._with_first = Patience()
        self._with_second = Patience()
        self._alone = 0
        self.row = row

    @property
    def row(self) -> int | None:
        """The row, or None."""
        return self._row

    @row.setter
    def row(self, row: int | None) -> None:
        self._row = row
        self._first = 2 * (row or 0)
        self._lock = self._memory.tickets_at + 8 * self._first
        self._with_first.renew()
        self._with_second.renew()

    def take(self) -> int:
        """Return the next ticket."""
        if self._row is None:
            return self._take_alone()
        cells, first, fd = self._cells, self._first, self._memory.fd
        if try_lock(fd, self._lock, self._with_first):
            ticket: int = max(cells[first], cells[first + 1])
            cells[first] = ticket + 1
            unlock(fd, self._lock)
            return ticket
        if try_lock(fd, self._lock + 8, self._with_second):
            ticket = max(cells[first] + 1, cells[first + 1])
            cells[first + 1] = ticket + 1
            unlock(fd, self._lock + 8)
            return ticket
        self._alone = max(self._alone, cells[first], cells[first + 1])
        return self._take_alone()

    def _take_alone(self) -> int:
        ticket = self._alone
        self._alone = ticket + 1
        return ticket
