"""Days and months of budgets, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

DAY_S = 86_400
UNSET_BEFORE = 1_600_000_000.0
"""Unix seconds (2020) before which the machine's clock was not set yet. Budgets then keep the period they are in."""


class Periods(NamedTuple):
    """The day and month of an instant."""

    day: int
    """Days since 1970."""
    month: int
    """Months since year 0."""
    day_end: float
    """Unix seconds."""
    month_end: float


def periods_at(unix: float) -> Periods:
    """Return the day and month of `unix` seconds."""
    day = int(unix // DAY_S)
    date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    next_month = (date.replace(day=1) + timedelta(days=32)).replace(day=1)
    return Periods(day, date.year * 12 + date.month - 1, float((day + 1) * DAY_S), next_month.timestamp())


class Calendar:
    """The periods of now, calculated once a day."""

    __slots__ = ("_now",)

    def __init__(self) -> None:
        self._now = periods_at(0.0)

    def at(self, unix: float) -> Periods:
        """Return the day and month of `unix` seconds."""
        if not 0.0 < self._now.day_end - unix <= DAY_S:
            self._now = periods_at(unix)
        return self._now


def turned(stamp: float, current: int, unix: float) -> tuple[bool, float]:
    """Return (whether a budget starts anew, the period that it counts from now on).

    `stamp` is the period that it counted, 0 for none. A clock that is set back never empties a budget: what was spent
    counts in the period that the clock now shows. A clock that is not set yet changes nothing.
    """
    if stamp == current or (stamp and unix < UNSET_BEFORE):
        return False, stamp
    return stamp < current, float(current)
