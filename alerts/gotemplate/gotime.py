"""Formats times and durations as Go does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_LAYOUT = re.compile(
    r"2006|January|Jan|Monday|Mon|MST|15|_2|Z07:00|Z0700|Z07|-07:00|-0700|-07|[.,]0+(?!\d)|[.,]9+(?!\d)|0[1-6]|PM|pm|[1-5]"
)
_UNITS = ((3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"))


def format_time(moment: datetime, nanoseconds: int, layout: str = "2006-01-02 15:04:05.999999999 -0700 MST") -> str:
    """Return a time in its zone as Go's Time.Format does. `nanoseconds` since 1970 have the digits that it lacks."""
    fraction = f"{nanoseconds % 1_000_000_000:09d}"
    offset = moment.utcoffset() or timedelta()
    minutes = abs(offset) // timedelta(minutes=1)
    sign, hours, rest = "-" if offset < timedelta() else "+", f"{minutes // 60:02d}", f"{minutes % 60:02d}"
    plain = {
        "2006": f"{moment.year:04d}",
        "January": moment.strftime("%B"),
        "Jan": moment.strftime("%b"),
        "Monday": moment.strftime("%A"),
        "Mon": moment.strftime("%a"),
        "MST": moment.tzname() or "UTC",
        "15": f"{moment.hour:02d}",
        "_2": f"{moment.day:2d}",
        "Z07:00": f"{sign}{hours}:{rest}" if offset else "Z",
        "Z0700": f"{sign}{hours}{rest}" if offset else "Z",
        "Z07": f"{sign}{hours}" if offset else "Z",
        "-07:00": f"{sign}{hours}:{rest}",
        "-0700": f"{sign}{hours}{rest}",
        "-07": f"{sign}{hours}",
        "01": f"{moment.month:02d}",
        "02": f"{moment.day:02d}",
        "03": f"{moment.hour % 12 or 12:02d}",
        "04": f"{moment.minute:02d}",
        "05": f"{moment.second:02d}",
        "06": f"{moment.year % 100:02d}",
        "PM": "PM" if moment.hour >= 12 else "AM",
        "pm": "pm" if moment.hour >= 12 else "am",
        "1": str(moment.month),
        "2": str(moment.day),
        "3": str(moment.hour % 12 or 12),
        "4": str(moment.minute),
        "5": str(moment.second),
    }

    def one(match: re.Match[str]) -> str:
        word = match[0]
        if word in plain:
            return plain[word]
        digits = fraction[: len(word) - 1]
        if word[1] == "0":
            return word[0] + digits
        digits = digits.rstrip("0")
        return word[0] + digits if digits else ""

    return _LAYOUT.sub(one, layout)


def go_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: `1h0m1.5s`, `2.5ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, left = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    if left < 1_000_000_000:
        size, unit = next((s, u) for s, u in ((1_000_000, "ms"), (1_000, "µs"), (1, "ns")) if left >= s)
        return f"{sign}{_decimal(left, size)}{unit}"
    text = ""
    for size, unit in _UNITS[:2]:
        if left >= size or text:
            text += f"{left // size}{unit}"
        left %= size
    return f"{sign}{text}{_decimal(left, 1_000_000_000)}s"


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
