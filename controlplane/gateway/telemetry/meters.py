"""Counters, gauges and histograms on the cells of a region, bound once and changed without a lookup."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator

from controlplane.gateway.telemetry.families import FAMILIES, SERIES_REFUSED, Family, Kind
from controlplane.gateway.telemetry.region import Region

GONE = math.nan
"""Value of a gauge that has no process any more. It takes no part in a minimum."""
SEPARATOR = "\x1f"
"""Between the name and the label values of an entry's text."""


class Counter:
    """One series of a counter."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: memoryview[float], at: int) -> None:
        self._cells, self._at = cells, at

    def add(self, amount: float = 1.0) -> None:
        """Add to the counter."""
        self._cells[self._at] += amount

    @property
    def value(self) -> float:
        """The present value."""
        return self._cells[self._at]


class Gauge(Counter):
    """One series of a gauge."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Replace the value."""
        self._cells[self._at] = value


class Histogram:
    """One series of a histogram: counts of the buckets, not cumulative, then +Inf's, then the sum."""

    __slots__ = ("_at", "_bounds", "_cells", "_sum")

    def __init__(self, cells: memoryview[float], at: int, bounds: tuple[float, ...]) -> None:
        self._cells, self._at, self._bounds = cells, at, bounds
        self._sum = at + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count a value."""
        self._cells[self._at + bisect_left(self._bounds, value)] += 1.0
        self._cells[self._sum] += value


class Meters:
    """All series of one process, the only writer of its region.

    Series that an earlier process has left in the region go on from their values.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._places: dict[str, int] = {}
        self._refused: Gauge | None = None
        region.claim()
        for entry in region.entries():
            self._places[entry.text] = entry.first
        self._refused = self.gauge(SERIES_REFUSED)

    def left(self) -> Iterator[tuple[Family, tuple[str, ...], Gauge]]:
        """Yield the gauges with family and label values, but for those that keep their value.

        After a process was killed they are what it had open.
        """
        for text, place in self._places.items():
            name, *values = text.split(SEPARATOR)
            family = FAMILIES.get(name)
            if family is not None and family.kind is Kind.GAUGE and not family.keeps:
                yield family, tuple(values), Gauge(self._region.cells, place)

    def counter(self, family: Family, *values: str) -> Counter:
        """Return the counter of a family with the label values `values`."""
        return Counter(self._region.cells, self.place(family, *values))

    def gauge(self, family: Family, *values: str) -> Gauge:
        """Return the gauge of a family with the label values `values`."""
        return Gauge(self._region.cells, self.place(family, *values))

    def histogram(self, family: Family, *values: str) -> Histogram:
        """Return the histogram of a family with the label values `values`."""
        return Histogram(self._region.cells, self.place(family, *values), family.bounds)

    def known(self, family: Family) -> list[tuple[str, ...]]:
        """Return the label values of all series of a family."""
        prefix = family.name + SEPARATOR
        return [tuple(text.split(SEPARATOR)[1:]) for text in self._places if text.startswith(prefix)]

    @property
    def cells(self) -> memoryview[float]:
        """All cells, float64."""
        return self._region.cells

    def place(self, family: Family, *values: str) -> int:
        """Return the first cell of a series. A histogram has its buckets there, +Inf included, and then the sum."""
        assert len(values) == len(family.labels), f"{family.name} has the labels {family.labels}"
        text = SEPARATOR.join((family.name, *(value.replace(SEPARATOR, "?") for value in values)))
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = self._region.allocate(text, family.cells)
            if self._refused is not None:
                self._refused.set(self._region.refused)
        return place
