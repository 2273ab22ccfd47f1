"""The base of the JSON shapes, and times as they are in JSON."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


def rfc3339(seconds: float | None) -> str | None:
    """Return unix seconds as RFC 3339 in UTC with milliseconds, or null."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(seconds: float) -> str:
    """Return known unix seconds as RFC 3339 in UTC with milliseconds."""
    return rfc3339(seconds) or ""


def finite(value: float | None) -> float | None:
    """Return the value, or None for NaN and infinity: JSON cannot express them."""
    return value if value is not None and math.isfinite(value) else None


class View(BaseModel):
    """Base of every shape: frozen, without undeclared fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
