"""Durations as fleet.yaml and the command line write them, without what the rest of the vocabulary imports."""

from __future__ import annotations

from typing import Any

from collectors.durations import parse_duration


def duration_seconds(value: Any) -> float:
    """Return the seconds of a Prometheus duration (`1h30m`, `15s`, `500ms`), or of a bare 0. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
        return 0.0
    if not isinstance(value, str):
        raise ValueError("expected a duration such as 15s, 2m or 1h30m")
    return parse_duration(value)
