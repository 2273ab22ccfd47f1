"""Parses durations and instants. A module of its own, so that its users do not import the whole vocabulary."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from collectors.durations import parse_duration


def duration_seconds(value: Any) -> float:
    """Return the seconds of a Prometheus duration (`1h30m` -> 5400.0), or of a bare 0.

    Raises ValueError for any other value.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    if not isinstance(value, str):
        raise ValueError("expected a duration such as 15s, 2m or 1h30m")
    return parse_duration(value)


_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0
"""The first second of the year 1 and the last one of the year 9999: what RFC 3339 can write."""
INSTANT = "a time such as 2026-11-28T08:43:55Z (RFC 3339), unix seconds, or a duration before now such as 5m"
"""Words for the texts that `instant_seconds` reads."""


def instant_seconds(text: str, now: float) -> float:
    """Return the unix seconds of an instant: RFC 3339 (UTC without a zone), unix seconds, or a duration before `now`.

    Raises ValueError for any other text.
    """
    found = _read(text, now)
    if not _FIRST <= found <= _LAST:
        raise ValueError(f"expected {INSTANT}, within the years 1 to 9999 in UTC")
    return found


def _read(text: str, now: float) -> float:
    if re.fullmatch(r"[0-9]{9,12}(\.[0-9]{1,9})?", text):  # nine digits: from 1973 on; fewer may be a year or a mistake
        return float(text)
    try:
        return now - duration_seconds(text)
    except ValueError:
        pass
    try:
        then = datetime.fromisoformat(text)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"expected {INSTANT}") from None
