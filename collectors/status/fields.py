"""Values of a status API's JSON, checked. A value that cannot be what it should be is None: unknown, and never zero."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from collectors.errors import ExpositionError


def listed(answer: Any, key: str, path: str) -> list[Any]:
    """Return the list under `key` of an answer; `null` is an empty one. Raises ExpositionError for anything else."""
    if isinstance(answer, dict) and key in answer:
        found = answer[key]
        if found is None:
            return []
        if isinstance(found, list):
            return found
    raise ExpositionError(f"{path} answered JSON without a list named {key!r}: is the engine of another kind?", 0)


def entries(answer: Any, key: str, path: str, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the objects of a list by their names, of which `names` are the fields in order of preference.

    Of several objects with one name, the first counts. Raises ExpositionError for an entry without a name.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(listed(answer, key, path)):
        own = (text(entry.get(field)) for field in names) if isinstance(entry, dict) else ()
        name = next(filter(None, own), None)
        if name is None:
            raise ExpositionError(f"{path}: entry {number} of {key!r} has no name: is the engine of another kind?", 0)
        found.setdefault(name, entry)
    return found


def text(value: Any) -> str | None:
    """Return a text that UTF-8 can hold, or None for another type and for an empty text."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and value else None


def amount(value: Any) -> float | None:
    """Return a number that is finite and not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def moment(value: Any) -> float | None:
    """Return the unix seconds of an RFC 3339 text after 1970, or None."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if at is None or at.tzinfo is None:
        return None
    return amount(at.timestamp())
