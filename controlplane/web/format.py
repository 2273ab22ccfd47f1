"""Numbers and times as text for a page. An unknown value is a dash and never a zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from controlplane.plain_text import plain_block
from controlplane.telling import FULL, change, counted, digits_of, happened, lasting

UNKNOWN = "–"


def number(value: float | None, unit: str = "") -> str:
    """Return a number with up to three significant digits and its unit; None, NaN and infinities: a dash."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text}{unit}"


def short(value: float | None) -> str:
    """Return a number with up to three significant digits, from 10,000 on in thousands or millions: `764k`, `3.9M`."""
    if value is None or abs(value) < 10_000:
        return number(value)
    return number(value / 1e3, "k") if abs(value) < 999_500 else number(value / 1e6, "M")


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


def measured(value: float | None, unit: str) -> str:
    """Return a sample's value in its unit: ratio, seconds, or a number of tokens."""
    if unit == "ratio":
        return percent(value)
    return seconds(value) if unit == "seconds" else number(value)


def changed(candidate: float | None, stable: float | None, unit: str) -> str:
    """Return how a candidate's value differs from the stable version's."""
    return change(candidate, stable, unit) or UNKNOWN


def strength(evidence: float, fails_at: float) -> float:
    """Return how near an e-value is to the one that fails, 0 to 1. Evidence multiplies, so the scale is logarithmic."""
    if evidence <= 1.0 or fails_at <= 1.0:
        return 0.0
    return min(math.log(evidence) / math.log(fails_at), 1.0)


def gibibytes(value: float | None) -> str:
    """Return bytes as GiB."""
    return UNKNOWN if value is None else number(value / 2**30, " GiB")


def size(value: float | None) -> str:
    """Return bytes in the unit that leaves up to three digits, such as `1.2 GiB`."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return number(value, f" {unit}")
        value /= 1024
    return number(value, " TiB")


def duration(value: float | None) -> str:
    """Return seconds for a person, such as `7 min 30 s`."""
    return UNKNOWN if value is None or not math.isfinite(value) else lasting(value)


def clock(value: str | None) -> Markup:
    """Return an RFC 3339 time as a date and time of day in UTC. The page's script adds the local time to its title."""
    if not value:
        return Markup(UNKNOWN)  # noqa: S704 - a constant
    return Markup('<time datetime="{}">{}</time>').format(value, utc(value))


def utc(value: str | None) -> str:
    """Return an RFC 3339 time as a date and time of day in UTC, as text for an attribute."""
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


def commands(text: str) -> Markup:
    """Return a sentence as HTML, with what is between backquotes as code. Every other character is text."""
    parts = [escape(plain_block(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backquote without its partner is a character
        return Markup("`").join(parts)
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else p for n, p in enumerate(parts))


def bare(text: str) -> str:
    """Return a sentence without the backquotes around its commands, for an attribute."""
    return text.replace("`", "")


def is_link(value: str) -> bool:
    """Return whether a text of a rule file may become a link. `javascript:` and relative paths must stay text."""
    return value.startswith(("https://", "http://"))


def is_few(samples: float | None) -> bool:
    """Return whether a P99 has so few samples that the page must show their number."""
    return digits_of(samples) != FULL


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "short": short,
    "percent": percent,
    "seconds": seconds,
    "p99": p99,
    "counted": counted,
    "happened": happened,
    "commands": commands,
    "bare": bare,
    "measured": measured,
    "change": changed,
    "strength": strength,
    "gibibytes": gibibytes,
    "size": size,
    "duration": duration,
    "clock": clock,
    "utc": utc,
    "until": between,
}
TESTS: dict[str, Callable[..., bool]] = {"link": is_link, "few": is_few}
"""The filters and tests by their names in templates."""
