"""A line of numbers as a small picture: SVG coordinates, with the part beyond the limit apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 120, 24
"""Size of the drawing, in its own units."""
ROOM = 1.1
"""Height of the drawing as a multiple of the greatest value."""


class Sparkline(NamedTuple):
    """The coordinates of a drawing. Each text is the `points` of a polyline."""

    lines: tuple[str, ...]
    beyond: tuple[str, ...]
    """Parts above the limit."""
    limit_y: int | None
    """Height of the limit; None: there is none."""


def sparkline(points: Sequence[float | None], limit: float | None = None) -> Sparkline:
    """Return the drawing of values from 0 on. An unknown value is a gap. The limit is always within the drawing."""
    top = ROOM * max([value for value in points if value is not None] + [limit or 0.0], default=0.0) or 1.0
    step = WIDTH / max(1, len(points) - 1)

    def drawn(runs: Iterator[list[tuple[int, float]]]) -> tuple[str, ...]:
        return tuple(" ".join(f"{round(place * step)},{_y(value, top)}" for place, value in run) for run in runs)

    return Sparkline(
        drawn(_runs(points)),
        drawn(_beyond(points, limit)) if limit else (),
        _y(limit, top) if limit else None,
    )


def _y(value: float, top: float) -> int:
    return round(HEIGHT - HEIGHT * min(max(value, 0.0), top) / top)


def _runs(points: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """Yield the stretches of known values. A single one is doubled, so that its line has a dot."""
    run: list[tuple[int, float]] = []
    for place, value in enumerate([*points, None]):
        if value is not None:
            run.append((place, value))
        elif run:
            yield run if len(run) > 1 else run * 2
            run = []


def _beyond(points: Sequence[float | None], limit: float) -> Iterator[list[tuple[int, float]]]:
    """Yield the stretches above the limit, each with the values before and after it."""
    for run in _runs(points):
        stretch: list[tuple[int, float]] = []
        for at, (place, value) in enumerate(run):
            if value > limit:
                stretch += [run[at - 1]] if at and not stretch else []
                stretch.append((place, value))
            elif stretch:
                yield [*stretch, (place, value)]
                stretch = []
        if stretch:
            yield stretch if len(stretch) > 1 else stretch * 2
