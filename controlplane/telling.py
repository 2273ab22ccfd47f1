"""How numbers and sentences are told wherever people read them: command line and console."""

from __future__ import annotations

import re

FULL = 3
"""Digits of every number that people read."""
FEW = 100
"""Of fewer requests a P99 is little more than the slowest one, interpolated inside a histogram's bucket."""
VERY_FEW = 20
"""Of fewer even its second digit says nothing: buckets are that wide."""
_CHANGE = re.compile(r"^.*? went from \w+ to \w+: ")


def digits_of(samples: float | None) -> int:
    """Return the significant digits of a P99 of so many requests (None: unknown, so it is believed)."""
    if samples is None or samples >= FEW:
        return FULL
    return 1 if samples < VERY_FEW else 2


def counted(samples: float, source: str | None) -> str:
    """Return how many requests that were, and of whom: `10 probes`, `1 engine request`."""
    noun = "probe" if source == "probe" else f"{source} request" if source else "request"
    return f"{samples:.0f} {noun}" + ("" if round(samples) == 1 else "s")


def happened(sentence: str) -> str:
    """Return the sentence of an alert's transition without the change, which stands beside it."""
    return _CHANGE.sub("", sentence, count=1)
