"""Time intervals of Alertmanager: times of day, weekdays, days of the month, months and years, in a time zone. Pure."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = tuple(name.lower() for name in calendar.month_name)[1:]

_TIME = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)")


@dataclass(frozen=True)
class Span:
    """An inclusive range of whole numbers."""

    first: int
    last: int

    def has(self, number: int) -> bool:
        """Return whether the number is in the range."""
        return self.first <= number <= self.last


@dataclass(frozen=True)
class TimeInterval:
    """A time is in it when it is in one range of each field that has ranges."""

    times: tuple[Span, ...] = ()
    """Minutes of the day, 0 to 1439: both ends are inside."""
    weekdays: tuple[Span, ...] = ()
    """0 is Sunday."""
    days_of_month: tuple[Span, ...] = ()
    """1 to 31, or -31 to -1 from the month's end."""
    months: tuple[Span, ...] = ()
    years: tuple[Span, ...] = ()
    zone: tzinfo | None = UTC
    """None: the time zone of this machine."""

    def has(self, at: float) -> bool:
        """Return whether the unix second is in the interval."""
        now = datetime.fromtimestamp(at, self.zone)
        return (
            _in(self.times, now.hour * 60 + now.minute)
            and _in(self.weekdays, now.isoweekday() % 7)
            and self._has_day(now)
            and _in(self.months, now.month)
            and _in(self.years, now.year)
        )

    def _has_day(self, now: datetime) -> bool:
        if not self.days_of_month:
            return True
        days = calendar.monthrange(now.year, now.month)[1]
        return any(_from_end(s.first, days) <= now.day <= _from_end(s.last, days) for s in self.days_of_month)


def _in(spans: Sequence[Span], number: int) -> bool:
    return not spans or any(span.has(number) for span in spans)


def _from_end(day: int, days: int) -> int:
    return day if day > 0 else days + day + 1


def time_span(start: str, end: str) -> Span:
    """Return a range of the day: from the minute `start` to before the minute `end`, `HH:MM` up to `24:00`.

    Raises ValueError, also when the end is not after the start.
    """
    for text in (start, end):
        if not _TIME.fullmatch(text):
            raise ValueError(f"expected a time such as 09:00, up to 24:00, got {text!r}")
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    if first >= last:
        raise ValueError(f"{start} is not before {end}; write two ranges for one that crosses midnight")
    return Span(first, last - 1)


def weekday_span(text: str) -> Span:
    """Return a range of weekdays: `monday`, `monday:friday`. Raises ValueError."""
    return _ordered(text, [_named(part, WEEKDAYS, "weekday", 0) for part in _parts(text)])


def month_span(text: str) -> Span:
    """Return a range of months: `march`, `3`, `january:march`. Raises ValueError."""
    return _ordered(text, [_named(part, MONTHS, "month", 1) for part in _parts(text)])


def year_span(text: str) -> Span:
    """Return a range of years: `2027`, `2027:2030`. Raises ValueError."""
    return _ordered(text, [_number(part, "year") for part in _parts(text)])


def day_span(text: str) -> Span:
    """Return a range of days of the month: `1:5`, `-3:-1`. Raises ValueError."""
    days = [_number(part, "day of the month") for part in _parts(text)]
    if any(day == 0 or abs(day) > 31 for day in days):
        raise ValueError(f"{text}: a day of the month is 1 to 31, or -1 to -31 from the month's end")
    first, last = days[0], days[-1]
    if first < 0 < last:
        raise ValueError(f"{text}: a range that begins at the month's end cannot end after its begin")
    return Span(first, last) if (first > 0) != (last > 0) else _ordered(text, days)


def zone_of(name: str) -> tzinfo | None:
    """Return a time zone by its name, such as `Europe/Berlin`; None for `Local`, this machine's. Raises ValueError."""
    if name == "Local":
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError) as error:
        raise ValueError(f"{name!r} is no time zone; expected a name such as Asia/Shanghai") from error


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in text.lower().split(":")]
    if not 1 <= len(parts) <= 2 or not all(parts):
        raise ValueError(f"expected one value or a range FIRST:LAST, got {text!r}")
    return parts


def _ordered(text: str, ends: Sequence[int]) -> Span:
    if ends[0] > ends[-1]:
        raise ValueError(f"{text}: the range ends before it begins; write two ranges")
    return Span(ends[0], ends[-1])


def _named(text: str, names: Sequence[str], kind: str, first: int) -> int:
    if text in names:
        return names.index(text) + first
    if first and text.isdecimal() and first <= int(text) < len(names) + first:
        return int(text)
    raise ValueError(f"{text!r} is no {kind}")


def _number(text: str, kind: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text):
        raise ValueError(f"{text!r} is no {kind}")
    return int(text)
