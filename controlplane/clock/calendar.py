"""Times of the calendar: a cron expression in a time zone.

APScheduler's CronTrigger matches the fields. It is asked in wall-clock time only: by itself it fires twice where clocks
are set back in autumn, and at times that do not exist in spring. The rules of Debian's cron(8) hold instead:

- A job of fixed hours (`30 2 * * *`) runs once a day. In spring a time that clocks skip is moved by as much as clocks
  are set forward (02:30 → 03:30). In autumn the first of two equal times counts.
- A job of every hour (`*/15 * * * *`) runs at each such time that clocks show, also in the hour that comes twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * sun",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names for expressions. Source: crontab(5)."""
FIELDS = ("minute", "hour", "day of the month", "month", "weekday")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""By crontab's number: 0 and 7 are Sunday. APScheduler counts from Monday, so numbers are never handed to it."""
LONGEST_GAP_S = 3 * 3600
"""Longest step of a time zone that counts as summer time, as in Debian's cron(8)."""
LONGEST_WAIT = timedelta(days=8 * 366)
"""Two leap days lie this far apart around a century without one. An expression without a time until then has none."""

CACHED_TRIGGERS = 256
"""Checked expressions that a reload does not check again. Chosen: more than the calendars of an installation."""

_NUMBERS, _NAMES = re.compile(r"[0-9*,/-]+"), re.compile(r"[0-9a-zA-Z*,/-]+")


@dataclass(frozen=True)
class Calendar:
    """Calendar times. Two that compare equal have the same times."""

    cron: str
    """Five fields of crontab(5), or one of ALIASES. Weekdays are names or crontab's numbers."""
    timezone: str = "UTC"
    """A name of the IANA time zone database, such as Europe/Berlin."""
    shift_s: float = field(default=0.0, kw_only=True)
    """Seconds by which every time is later than the expression says."""

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence that names the field and the cure."""
        assert self._zone and self._trigger

    def next_after(self, at: float) -> float | None:
        """Return the first time after `at`, unix seconds; None where there is none."""
        return next(self.times(at), None)

    def times(self, after: float) -> Iterator[float]:
        """Yield the times after `after`, unix seconds, in order. There is no last one."""
        at = after - self.shift_s
        following = self._next_shown if "*" in self._fields[1] else self._next_day
        while (found := following(at)) is not None:
            yield found + self.shift_s
            at = found

    @cached_property
    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # the name of a folder raises OSError
            raise ValueError(f"no time zone is called {self.timezone!r}; write one such as Europe/Berlin") from None

    @cached_property
    def _fields(self) -> tuple[str, ...]:
        fields = ALIASES.get(self.cron.strip(), self.cron).split()
        if len(fields) != len(FIELDS):
            raise ValueError(f"expected 5 fields such as '30 3 * * *', or @daily; got {len(fields)} in {self.cron!r}")
        if fields[2] != "*" and fields[4] != "*":
            # crontab(5) runs on days of either kind, APScheduler on days of both.
            raise ValueError("set the day of the month or the weekday, not both")
        return (*fields[:4], _named_weekdays(fields[4]))

    @cached_property
    def _trigger(self) -> CronTrigger:
        found = _checked_trigger(self._fields)
        if found is None:
            raise ValueError(f"no day matches {self.cron!r}")
        return found

    def _next_day(self, at: float) -> float | None:
        """Return the next time of an expression with fixed hours."""
        best: float | None = None
        start = self._shown(math.floor(at))
        if self._offset(at - LONGEST_GAP_S) != self._offset(at):
            # A skipped time comes later than clocks show it, so it may still be to come.
            start -= timedelta(seconds=LONGEST_GAP_S)
        while (shown := self._shown_from(start + timedelta(seconds=1))) is not None:
            # fold=0: zoneinfo moves a skipped time by the gap, and takes the first of two equal times.
            found = shown.replace(tzinfo=self._zone, fold=0).timestamp()
            if found > at:  # in the second of two equal hours the first one is over
                best = found if best is None else min(best, found)
            if best is not None and shown >= self._shown(best):
                break
            start = shown
        return best

    def _shown(self, at: float) -> datetime:
        """Return the time that clocks show, with the zone UTC in place of none."""
        return datetime.fromtimestamp(at, self._zone).replace(tzinfo=UTC, fold=0)

    def _next_shown(self, at: float) -> float | None:
        """Return the next time of an expression with any hour, whatever clocks are set in between."""
        start = float(math.floor(at) + 1)
        while True:
            offset = self._offset(start)
            shown = self._shown_from(datetime.fromtimestamp(start, UTC) + offset)
            if shown is None:
                return None
            found = (shown - offset).timestamp()
            if self._offset(found) == offset:
                return found
            start = self._change(start, found)

    def _shown_from(self, shown: datetime) -> datetime | None:
        found: datetime | None = self._trigger.get_next_fire_time(None, shown)
        return found

    def _offset(self, at: float) -> timedelta:
        return datetime.fromtimestamp(at, self._zone).utcoffset() or timedelta()

    def _change(self, start: float, end: float) -> float:
        """Return the first whole second in (start, end] with another offset than `start`."""
        before = self._offset(start)
        while end - start > 1:
            middle = math.floor((start + end) / 2)
            if self._offset(middle) == before:
                start = middle
            else:
                end = middle
        return end


@dataclass(frozen=True)
class Timetable:
    """When a job runs, and for how long a time that passed without a run is made up for. Durations in seconds."""

    calendar: Calendar
    catch_up_s: float = 86400.0

    def __str__(self) -> str:
        """Return the times as text: `30 3 * * * Europe/Berlin +212s`. Two with one text have the same times."""
        shift = f" +{self.calendar.shift_s:g}s" if self.calendar.shift_s else ""
        return f"{self.calendar.cron} {self.calendar.timezone}{shift}"

    def due(self, done_to: float, now: float) -> tuple[float | None, int]:
        """Return the time to run now, None if there is none, and how many times before it are passed over.

        Times up to `done_to` were run. One run makes up for all times that passed since. Times older than `catch_up_s`
        are not made up for; they count as one.
        """
        earliest = now - self.catch_up_s
        first = self.calendar.next_after(done_to)
        too_old = first is not None and first < earliest
        waiting = list(takewhile(lambda at: at <= now, self.calendar.times(max(done_to, earliest))))
        return (waiting[-1], len(waiting) - 1 + too_old) if waiting else (None, int(too_old))


def shift_of(seed: str, jitter_s: float) -> float:
    """Return a part of `jitter_s`, in whole seconds, that is the same wherever `seed` is the same.

    Replicas of one control plane agree on it, and many control planes do not act at the same second.
    """
    share = int.from_bytes(sha256(seed.encode()).digest()[:8], "big") / 2**64
    return float(math.floor(share * jitter_s))


@lru_cache(maxsize=CACHED_TRIGGERS)
def _checked_trigger(fields: tuple[str, ...]) -> CronTrigger | None:
    """Return the trigger of an expression's fields, None if no day matches. Raises ValueError for a wrong field."""
    minute, hour, day, month, weekday = fields
    for name, text in zip(FIELDS, fields, strict=True):
        _check_field(name, text)
    # UTC here stands for the time that clocks show: it has no gaps.
    found = _cron_trigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    first = found.get_next_fire_time(None, start)
    return None if first is None or first - start > LONGEST_WAIT else found


def _cron_trigger(**fields: str) -> CronTrigger:
    # Imported when a calendar is made: it takes 45 ms, and most verbs of the command line make none.
    from apscheduler.triggers.cron import CronTrigger

    return CronTrigger(**fields, timezone=UTC)


def _check_field(name: str, text: str) -> None:
    # APScheduler takes words of its own for days ("last", "1st mon"), which crontab does not know.
    if not (_NAMES if name in ("month", "weekday") else _NUMBERS).fullmatch(text):
        raise ValueError(f"{name}: {text!r} is not {_EXPECTED[name]}")
    keyword = {"day of the month": "day", "weekday": "day_of_week"}.get(name, name)
    try:
        _cron_trigger(**{keyword: text})
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not {_EXPECTED[name]}") from None


_EXPECTED = {
    "minute": "a minute from 0 to 59, a list (0,30), a range (0-10) or a step (*/15)",
    "hour": "an hour from 0 to 23, a list (8,20), a range (8-18) or a step (*/6)",
    "day of the month": "a day from 1 to 31, a list (1,15), a range (1-7) or a step (*/2)",
    "month": "a month from 1 to 12, a name (jan), a list, a range (jan-mar) or a step (*/3)",
    "weekday": "a name (mon), a number from 0 to 7 (0 and 7 are Sunday), a list (mon,thu) or a range (mon-fri)",
}


def _named_weekdays(text: str) -> str:
    """Return a weekday field with names instead of crontab's numbers: "1-5" → "mon-fri"."""
    if "/" in text:
        # APScheduler would count the steps from Monday, crontab counts them from Sunday.
        raise ValueError(f"weekday: {text!r} has a step; list the days, such as mon,wed,fri")
    named = re.sub(r"[0-7]+", lambda found: WEEKDAYS[int(found[0])] if int(found[0]) < 8 else found[0], text)
    return ",".join(_unwrapped(part) for part in named.split(","))


def _unwrapped(part: str) -> str:
    """Return a range that begins on Sunday as APScheduler takes it: "sun-tue" → "sun,mon-tue"."""
    return f"sun,mon-{part[4:]}" if part.startswith("sun-") and part != "sun-sun" else part
