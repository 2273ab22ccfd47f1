"""Durations and instants as people write them, without what the rest of the vocabulary imports."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from collectors.durations import parse_duration


def duration_seconds(value: Any) -> float:
    """Return the seconds of a Prometheus duration (`1h30m`, `15s`, `500ms`), or of a bare 0. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    if not isinstance(value, str):
        raise ValueError("expected a duration such as 15s, 2m or 1h30m")
    return parse_duration(value)


def instant_seconds(text: str, now: float) -> float:
    """Return the unix seconds of RFC 3339 (UTC where no zone is given), of unix seconds, or of a duration before `now`.

    Raises ValueError.
    """
    if re.fullmatch(r"[0-9]{9,12}(\.[0-9]{1,9})?", text):  # nine digits: since 1973; fewer are a year, or a mistake
        return float(text)
    try:
        return now - duration_seconds(text)
    except ValueError:
        pass
    try:
        then = datetime.fromisoformat(text)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("expected RFC 3339, unix seconds, or a duration ago such as 5m") from None
