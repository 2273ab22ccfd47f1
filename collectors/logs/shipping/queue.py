"""Lines that wait in memory for one destination, within a number of bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from collectors.logs.shipping.record import Record


class Queue:
    """A queue in the order of arrival. Any thread may call it, and no call waits. A full one loses its oldest lines."""

    def __init__(self, limit: int, monotonic: Callable[[], float]) -> None:
        """`limit` is in bytes."""
        self._limit, self._monotonic = limit, monotonic
        self._lock = threading.Lock()
        self._records: deque[tuple[float, int, Record]] = deque()
        self._bytes = 0
        self._last_ns = 0
        self.lost = 0
        """Lines that were pushed out by newer ones."""

    def put(self, record: Record) -> None:
        """Append a line. Its time is moved behind the last one's, so that no two are the same to a server."""
        size = record.size
        with self._lock:
            self._last_ns = max(record.at_ns, self._last_ns + 1)
            self._records.append((self._monotonic(), size, record._replace(at_ns=self._last_ns)))
            self._bytes += size
            while self._bytes > self._limit and len(self._records) > 1:
                self._bytes -= self._records.popleft()[1]
                self.lost += 1

    def take(self, lines: int, size: int, wait_s: float = 0.0) -> list[Record]:
        """Return the oldest lines, as many as a batch holds. [] where they are not enough and none waited `wait_s`."""
        with self._lock:
            if not self._records:
                return []
            full = len(self._records) >= lines or self._bytes >= size
            if not full and self._monotonic() - self._records[0][0] < wait_s:
                return []
            taken: list[Record] = []
            left = size
            while self._records and len(taken) < lines and (not taken or self._records[0][1] <= left):
                _, own, record = self._records.popleft()
                self._bytes -= own
                left -= own
                taken.append(record)
            return taken

    def put_back(self, records: Sequence[Record]) -> None:
        """Bring taken lines back to the front. The oldest are lost where the queue has no room any more."""
        now = self._monotonic()
        with self._lock:
            for record in reversed(records):
                size = record.size
                if self._bytes + size > self._limit:
                    self.lost += 1
                    continue
                self._records.appendleft((now, size, record))
                self._bytes += size

    @property
    def bytes(self) -> int:
        """Bytes of the lines that wait."""
        return self._bytes

    @property
    def lines(self) -> int:
        """Number of lines that wait."""
        return len(self._records)
