"""Formats of numbers and sentences that people read, on the command line and in the console."""

from __future__ import annotations

import math
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
    """Return a duration for a person: `under a second`, `40 s`, `12 min`, `2 h 30 min`, `3 d 4 h`."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def happened(sentence: str) -> str:
    """Return the sentence of an alert's transition without its prefix `… went from … to …: `."""
    return _CHANGE.sub("", sentence, count=1)
