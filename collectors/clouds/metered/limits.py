"""Limits of a cloud for each model, and what is left of them by the last whole period."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from collectors.clouds.kept_answer import KeptAnswer
from collectors.clouds.report import MAX_SERIES
from collectors.errors import ExpositionError

EVERY_S = 3600.0
"""Seconds between two readings: limits change when a person changes them."""
REQUESTS, TOKENS = "requests", "tokens"


class RateLimit(NamedTuple):
    """Amount that a cloud allows for one model in a minute."""

    model: str
    type: str
    """requests or tokens."""
    per_minute: float


class KeptLimits(KeptAnswer[Sequence[RateLimit]]):
    """The limits of one account."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        super().__init__("rate limits", EVERY_S, (), wall)

    async def _fetch(self, now: float) -> Sequence[RateLimit]:
        found = _smallest(await self._asked())
        if len(found) > MAX_SERIES:
            raise ExpositionError(f"the account has {len(found)} limits; {MAX_SERIES} are read at most", 0)
        return found

    @abstractmethod
    async def _asked(self) -> Sequence[RateLimit]:
        """Read the limits. Raises ScrapeError."""


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
