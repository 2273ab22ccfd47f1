"""An answer of a cloud that changes seldom: read now and then, and kept while it cannot be read again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ScrapeError

KEPT_S = 86_400.0
"""Seconds for which an answer holds while it cannot be read again (chosen: clouds' costs are a day late anyway)."""
T = TypeVar("T")


class KeptAnswer(ABC, Generic[T]):
    """One answer for one account. `wall` gives unix seconds."""

    def __init__(self, name: str, every_s: float, nothing: T, wall: Callable[[], float] = time.time) -> None:
        """`name` is in the plural, for the remark. The answer is read again every `every_s` seconds."""
        self._name, self._every_s, self._answer, self._wall = name, every_s, nothing, wall
        self.remark = ""
        """Cause for which the answer is older than it should be; "": it is not."""
        self._span: float | None = None
        self._read_at, self._tried_at, self._next_at = float("-inf"), float("-inf"), float("-inf")

    async def value(self) -> T:
        """Return the answer. Raises ScrapeError, unless one of this span and of less than KEPT_S before is known."""
        now = self._wall()
        span = self._span_of(now)
        # A clock that was set back would put the next reading off by as much.
        if span == self._span and self._tried_at <= now < self._next_at:
            return self._answer
        self._tried_at, self._read_at = now, min(now, self._read_at)
        try:
            answer = await self._fetch(now)
        except ScrapeError as error:
            if span != self._span or now - self._read_at >= KEPT_S:
                raise
            self._next_at = now + (error.wait_s if isinstance(error, Limited) else RETRY_S)
            self.remark = f"the {self._name} are those of an earlier reading: {error}"
            return self._answer
        self.remark = ""
        self._answer, self._span = answer, span
        self._read_at, self._next_at = now, now + self._every_s
        return answer

    def _span_of(self, now: float) -> float:
        """Return the span of time that an answer is about; an answer about another one is of no use."""
        return 0.0

    @abstractmethod
    async def _fetch(self, now: float) -> T:
        """Read the answer; `now` is in unix seconds. Raises ScrapeError."""
