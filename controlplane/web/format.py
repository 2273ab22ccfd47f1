"""Numbers and times as text for a page. An unknown value is a dash and never a zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from controlplane.telling import FULL, counted, digits_of, happened

UNKNOWN = "–"


def number(value: float | None, unit: str = "") -> str:
    """Return a number with up to three significant digits and its unit; None, NaN and infinities: a dash."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text}{unit}"


def percent(value: float | None) -> str:
    """Return a ratio as a percentage."""
    return UNKNOWN if value is None else number(100 * value, " %")


def seconds(value: float | None) -> str:
    """Return a latency in ms below one second, else in s."""
    if value is None:
        return UNKNOWN
    return number(1000 * value, " ms") if value < 1 else number(value, " s")


def p99(value: float | None, samples: float | None) -> str:
    """Return a P99 with as many digits as its number of samples supports; a rounded one has `~` before it."""
    digits = digits_of(samples)
    if value is None or digits == FULL:
        return seconds(value)
    return "~" + seconds(float(f"{value:.{digits}g}"))


def gibibytes(value: float | None) -> str:
    """Return bytes as GiB."""
    return UNKNOWN if value is None else number(value / 2**30, " GiB")


def clock(value: str | None) -> str:
    """Return an RFC 3339 time as a date and time of day in UTC."""
    return UNKNOWN if not value else datetime.fromisoformat(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def between(start: str | None, end: str | None) -> str:
    """Return the time between two RFC 3339 times, such as `3m 12s`."""
    if not start or not end:
        return UNKNOWN
    total = max(0, round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (left, "s")) if n]
    return " ".join(parts[:2]) or "0s"


def is_link(value: str) -> bool:
    """Return whether a text of a rule file may become a link. `javascript:` and relative paths must stay text."""
    return value.startswith(("https://", "http://"))


def is_few(samples: float | None) -> bool:
    """Return whether a P99 has so few samples that the page must show their number."""
    return digits_of(samples) != FULL


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "percent": percent,
    "seconds": seconds,
    "p99": p99,
    "counted": counted,
    "happened": happened,
    "gibibytes": gibibytes,
    "clock": clock,
    "until": between,
}
TESTS: dict[str, Callable[..., bool]] = {"link": is_link, "few": is_few}
"""The filters and tests by their names in templates."""
