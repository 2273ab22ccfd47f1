"""Lengths of bars that the server draws as SVG. A policy without inline styles leaves only SVG's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WHOLE = 100.0
"""Width and height of a drawing, in its own units."""


class Column(NamedTuple):
    """One column of a chart by time, in a drawing of WHOLE by WHOLE with its origin at the top left."""

    x: float
    y: float
    width: float
    height: float
    at: str
    """RFC 3339 start of its period."""
    value: float | None
    """None: unknown; the column has no height."""


def columns(values: Sequence[tuple[str, float | None]], places: int = 1) -> tuple[Column, ...]:
    """Return a column for each (time, value). The largest value is as high as the drawing.

    The drawing has room for `places` columns at least, so that few columns are not wide.
    """
    most = max((value for _, value in values if value is not None), default=0.0)
    step = WHOLE / max(len(values), places)
    found = []
    for index, (at, value) in enumerate(values):
        height = WHOLE * value / most if value is not None and most > 0 else 0.0
        edges = (round(index * step, 2), round(WHOLE - height, 2), round(step * 0.8, 2), round(height, 2))
        found.append(Column(*edges, at, value))
    return tuple(found)


def share(value: float | None, of: float | None) -> float | None:
    """Return a value as a share of a whole, 0 to 1; None: one of them is unknown, or the whole is nothing."""
    return None if value is None or not of else min(1.0, max(0.0, value / of))
