"""Costs of this month at a cloud."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from collectors.clouds.kept_answer import KeptAnswer
from collectors.clouds.report import MAX_SERIES, Item, month_start
from collectors.errors import ExpositionError

EVERY_S = 6 * 3600.0
"""Seconds between two readings. Clouds renew costs a few times a day; AWS charges 0.01 USD for each request."""
MAX_NAMES = MAX_SERIES // 4
"""Most names in the costs of an account. Each has a sum of the day and of the month; the metrics need room, too."""


class KeptCosts(KeptAnswer[Sequence[Item]]):
    """The costs of one account for each day of this month."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        super().__init__("costs", EVERY_S, (), wall)

    def _span_of(self, now: float) -> float:
        return month_start(now).timestamp()

    async def _fetch(self, now: float) -> Sequence[Item]:
        items = [item async for item in self._asked(month_start(now), now)]
        if (count := len({(item.model, item.project) for item in items})) > MAX_NAMES:
            raise ExpositionError(f"costs: they have {count} names; {MAX_NAMES} are read at most", 0)
        return items

    @abstractmethod
    def _asked(self, month: datetime, now: float) -> AsyncIterator[Item]:
        """Read the costs of each day from the start of a month to now (unix seconds). Raises ScrapeError."""
