"""Costs of this month at a cloud: read a few times a day, and kept while they cannot be read."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from collectors.clouds.report import MAX_SERIES, Item, month_start
from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ExpositionError, ScrapeError

EVERY_S = 6 * 3600.0
"""Seconds between two readings. Clouds renew costs a few times a day; AWS charges 0.01 USD for each request."""
KEPT_S = 86_400.0
"""Seconds for which costs that were read hold while they cannot be read again (chosen: they are a day late anyway)."""
MAX_NAMES = MAX_SERIES // 4
"""Most names in the costs of an account. Each has a sum of the day and of the month; the metrics need room, too."""
Asks = Callable[[datetime, float], AsyncIterator[Item]]
"""Reads the costs of each day from the start of a month to now (unix seconds). Raises ScrapeError."""


class KeptCosts:
    """The costs of one account. `wall` gives unix seconds."""

    def __init__(self, asks: Asks, wall: Callable[[], float] = time.time) -> None:
        self._asks, self._wall = asks, wall
        self._items: list[Item] = []
        self.remark = ""
        """Cause for which the costs are older than they should be; "": they are not."""
        self._month, self._read_at, self._next_at = 0.0, float("-inf"), float("-inf")
        self._tried_at = float("-inf")

    async def items(self) -> Sequence[Item]:
        """Return the costs of each day of this month.

        Raises ScrapeError when they cannot be read, unless those of less than KEPT_S before are known.
        """
        now = self._wall()
        month = month_start(now)
        # A clock that was set back would put the next reading off by as much.
        if month.timestamp() == self._month and self._tried_at <= now < self._next_at:
            return self._items
        self._tried_at, self._read_at = now, min(now, self._read_at)
        try:
            items = [item async for item in self._asks(month, now)]
            if (count := len({(item.model, item.project) for item in items})) > MAX_NAMES:
                raise ExpositionError(f"costs: they have {count} names; {MAX_NAMES} are read at most", 0)
        except ScrapeError as error:
            if month.timestamp() != self._month or now - self._read_at >= KEPT_S:
                raise
            self._next_at = now + (error.wait_s if isinstance(error, Limited) else RETRY_S)
            self.remark = f"the costs are those of an earlier reading: {error}"
            return self._items
        self.remark = ""
        self._items, self._month = items, month.timestamp()
        self._read_at, self._next_at = now, now + EVERY_S
        return items
