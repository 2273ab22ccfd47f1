"""Formats of numbers and sentences that people read, on the command line and in the console."""

from __future__ import annotations

import re

FULL = 3
"""Significant digits of a number that people read."""
FEW = 100
"""Requests below which a P99 has two digits: it is little more than the slowest request, interpolated in a bucket."""
VERY_FEW = 20
"""Requests below which a P99 has one digit: a histogram's buckets are too wide for a second."""
_CHANGE = re.compile(r"^.*? went from \w+ to \w+: ")


def digits_of(samples: float | None) -> int:
    """Return the significant digits of a P99 over `samples` requests. None means unknown and gets FULL."""
    if samples is None or samples >= FEW:
        return FULL
    return 1 if samples < VERY_FEW else 2


def counted(samples: float, source: str | None) -> str:
    """Return a count of requests with their source: `10 probes`, `1 engine request`."""
    noun = "probe" if source == "probe" else f"{source} request" if source else "request"
    return f"{samples:.0f} {noun}" + ("" if round(samples) == 1 else "s")


def lasting(seconds: float) -> str:
    """Return a duration for a person: `under a second`, `40 s`, `7 min 30 s`, `12 min`, `2 h 30 min`, `3 d 4 h`."""
    if seconds < 1:
        return "under a second"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return _two(whole, 60, "min", 1, "s")
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return _two(minutes, 60, "h", 1, "min") if minutes < 48 * 60 else _two(minutes, 24 * 60, "d", 60, "h")


def _two(count: int, big: int, big_name: str, small: int, small_name: str) -> str:
    many, rest = count // big, count % big // small
    return f"{many} {big_name} {rest} {small_name}" if rest else f"{many} {big_name}"


def change(candidate: float | None, stable: float | None, unit: str) -> str | None:
    """Return how a candidate's value differs from the stable version's, or None where that is not known.

    Shares (unit `ratio`) differ in percentage points: `+7.8 points`. Other values differ in percent: `+25%`; from ten
    times on by a factor: `x107`.
    """
    if candidate is None or stable is None:
        return None
    if unit == "ratio":
        return f"{100 * (candidate - stable):+.2g} points"
    if not stable:
        return None
    return f"x{candidate / stable:.3g}" if candidate >= 10 * stable else f"{100 * (candidate / stable - 1):+.0f}%"


def happened(sentence: str) -> str:
    """Return the sentence of an alert's transition without its prefix `… went from … to …: `."""
    return _CHANGE.sub("", sentence, count=1)
