"""Parses the `Retry-After` header of HTTP servers and rate limiters."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
"""The standard has whole seconds only, but servers also send fractions."""


def retry_after_s(header: str, now: float) -> float | None:
    """Return the seconds to wait from a `Retry-After` header; None for an invalid one (`inf`, `nan`, `-5`, `soon`).

    The header is a number or a date. The result is finite and at least 0. `now` is in unix seconds.
    """
    text = header.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    try:
        return max(0.0, at.timestamp() - now)
    except (ValueError, OverflowError):
        return None
