"""`Retry-After`, as HTTP servers and limiters of rates send it."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
"""The standard has whole seconds; fractions are met."""


def retry_after_s(header: str, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, as a number or as a date, or None without a wish.

    At least 0 and finite. What is neither (`inf`, `nan`, `-5`, `soon`) is no wish. `now` is unix seconds.
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
