"""Whole periods of a cloud's metrics: which of them are complete, and in which steps they are read. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

PERIOD_S = 300.0
"""Seconds of one period. Clouds charge for each read, so shorter ones cost more (chosen)."""
SETTLE_S = 180.0
"""Seconds after which a period is complete. Clouds publish the numbers of a minute one to three minutes later."""
HOUR_S = 3600.0
"""Seconds of the periods in which the past is read: a month has 744 of them."""


class Span(NamedTuple):
    """Question to a meter: the periods from `start` to before `end`. All are unix seconds."""

    month: float
    """Start of the month. What a meter did not know before is read from here on."""
    start: float
    end: float


class Step(NamedTuple):
    """One request's worth of periods of one length, from `start` to before `end`."""

    start: float
    end: float
    period_s: float


def settled(now: float) -> float:
    """Return the end of the last complete period. Both in unix seconds."""
    at = now - SETTLE_S
    return at - at % PERIOD_S


def steps(start: float, end: float) -> Iterator[Step]:
    """Yield steps that cover the time from `start` to `end` once: whole hours, then the rest in short periods.

    The last period is always a short one: what is used now is judged by it.
    """
    last = end - PERIOD_S
    hour = last - last % HOUR_S
    if start % HOUR_S == 0 and start < hour:
        yield Step(start, hour, HOUR_S)
        start = hour
    if start < end:
        yield Step(start, end, PERIOD_S)


def rfc3339(at: float) -> str:
    """Return a time in unix seconds as text in UTC, to the second: `2026-11-28T10:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
