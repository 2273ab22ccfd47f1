"""Limits of a cloud for each model, and what is left of them by the last whole period."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from collectors.clouds.report import MAX_SERIES
from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ExpositionError, ScrapeError

EVERY_S = 3600.0
"""Seconds between two readings: limits change when a person changes them."""
KEPT_S = 86_400.0
"""Seconds for which limits that were read hold while they cannot be read again (chosen)."""
REQUESTS, TOKENS = "requests", "tokens"


class RateLimit(NamedTuple):
    """Amount that a cloud allows for one model in a minute."""

    model: str
    type: str
    """requests or tokens."""
    per_minute: float


class KeptLimits:
    """The limits of one account. `wall` gives unix seconds."""

    def __init__(
        self, asks: Callable[[], Awaitable[Sequence[RateLimit]]], wall: Callable[[], float] = time.time
    ) -> None:
        """`asks` reads the limits. It raises ScrapeError."""
        self._asks, self._wall = asks, wall
        self._limits: Sequence[RateLimit] = ()
        self.remark = ""
        """Cause for which the limits are older than they should be; "": they are not."""
        self._read_at, self._tried_at, self._next_at = float("-inf"), float("-inf"), float("-inf")

    async def limits(self) -> Sequence[RateLimit]:
        """Return the limits. Raises ScrapeError, unless those of less than KEPT_S before are known."""
        now = self._wall()
        # A clock that was set back would put the next reading off by as much.
        if self._tried_at <= now < self._next_at:
            return self._limits
        self._tried_at, self._read_at = now, min(now, self._read_at)
        try:
            found = _smallest(await self._asks())
            if len(found) > MAX_SERIES:
                raise ExpositionError(f"the account has {len(found)} limits; {MAX_SERIES} are read at most", 0)
        except ScrapeError as error:
            if now - self._read_at >= KEPT_S:
                raise
            self._next_at = now + (error.wait_s if isinstance(error, Limited) else RETRY_S)
            self.remark = f"the rate limits are those of an earlier reading: {error}"
            return self._limits
        self.remark = ""
        self._limits, self._read_at, self._next_at = found, now, now + EVERY_S
        return found


def _smallest(limits: Iterable[RateLimit]) -> Sequence[RateLimit]:
    """Return one limit for each model and type: the smallest is the one that is met."""
    found: dict[tuple[str, str], RateLimit] = {}
    for each in limits:
        known = found.setdefault((each.model, each.type), each)
        if each.per_minute < known.per_minute:
            found[each.model, each.type] = each
    return tuple(found.values())


def allowed(value: object, seconds: object = 60) -> float:
    """Return a limit per minute from one per so many seconds. Raises ValueError for what is no such number."""
    for each in (value, seconds):
        if isinstance(each, bool) or not isinstance(each, int | float) or not isfinite(each) or each < 0:
            raise ValueError("a limit is no number")
    assert isinstance(value, int | float)
    assert isinstance(seconds, int | float)
    if not seconds:
        raise ValueError("a limit has no period")
    return value * 60 / seconds


def limit_families(limits: Iterable[RateLimit], used: Callable[[str, str], float]) -> Iterator[Metric]:
    """Yield the limits and what is left. `used` gives the use of a model per minute, by type."""
    limit = GaugeMetricFamily(
        "llm_ratelimit_limit", "What the cloud allows in a minute.", labels=["served_model", "type"]
    )
    left = GaugeMetricFamily(
        "llm_ratelimit_remaining", "The limit less the mean use of the last period.", labels=["served_model", "type"]
    )
    for each in limits:
        limit.add_metric([each.model, each.type], each.per_minute)
        left.add_metric([each.model, each.type], max(0.0, each.per_minute - used(each.model, each.type)))
    yield from (family for family in (limit, left) if family.samples)
