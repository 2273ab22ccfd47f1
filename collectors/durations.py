"""Prometheus durations: `1h30m`, `15s`, `500ms`. Units go from large to small, each at most once."""

from __future__ import annotations

import re

_PATTERN = re.compile(
    r"^(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?$"
)
_UNITS = (("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))
_UNIT_MS = (*(ms for _, ms in _UNITS), 1)
_MAX_MS = 2**63 // 1_000_000
"""Prometheus's own limit: nanoseconds in 64 bits, which is 292 years."""
_MAX_TEXT = 100
_MAX_SHOWN = 60


def parse_duration(text: str) -> float:
    """Return the seconds of a Prometheus duration: `1h30m` -> 5400.0. `0` needs no unit.

    Raises ValueError for any other text, and for more than 292 years.
    """
    if text == "0":
        return 0.0
    match = _PATTERN.fullmatch(text) if text and len(text) <= _MAX_TEXT else None
    if not match:
        raise ValueError(f"expected a duration such as 15s, 2m or 1h30m, got {text[:_MAX_SHOWN]!r}")
    total_ms = sum(int(n) * ms for n, ms in zip(match.groups(), _UNIT_MS, strict=True) if n)
    if total_ms > _MAX_MS:
        raise ValueError(f"expected a duration of 292 years at most, got {text[:_MAX_SHOWN]!r}")
    return total_ms / 1000


def format_duration(seconds: float) -> str:
    """Return the shortest exact Prometheus duration: 5400.0 -> `1h30m`, 0.0 -> `0s`. Precision is a millisecond.

    As in Prometheus, years and weeks are used only when nothing remains: 9 days are `9d`, 14 are `2w`.
    """
    left = round(seconds * 1000)
    if left <= 0:
        return "0s"
    parts = []
    for unit, ms in _UNITS:
        count = left // ms
        if count and (unit not in "yw" or left % ms == 0):
            parts.append(f"{count}{unit}")
            left -= count * ms
    if left:
        parts.append(f"{left}ms")
    return "".join(parts)
