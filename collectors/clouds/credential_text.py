"""Texts of which credentials consist."""

from __future__ import annotations

from typing import TypeGuard


def fits(value: object) -> TypeGuard[str]:
    """Return whether a value can be sent as a credential: a text of printable ASCII that is not empty."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable()
