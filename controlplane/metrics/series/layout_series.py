"""What a table of series asks of a layout, by position: raw columns first, then views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from collectors.packed_series import Pair, SeriesList, ViewList
from collectors.samples import METRIC_NAME, FloatArray, Labels, Layout, Series, View
from controlplane.metrics.arrays import IntArray


class Reads(NamedTuple):
    """What some positions are: `factor * sum(columns)`. Arrays are `[positions]`."""

    first: IntArray
    """The first column."""
    factors: FloatArray
    sums: dict[int, tuple[int, ...]]
    """All columns of those that add several up, by index into the arrays."""


def positions_of(layout: Layout) -> int:
    """Return how many positions a layout has."""
    return len(layout.raw) + len(layout.views)


def series_of(layout: Layout) -> list[Series]:
    """Return the series of all positions."""
    return [*layout.raw, *_viewed(layout.views)]


def series_at(layout: Layout, position: int) -> Series:
    """Return the series of one position."""
    raw = layout.raw
    return raw[position] if position < len(raw) else layout.views[position - len(raw)].series


def names_of(layout: Layout) -> set[str]:
    """Return the metrics that a layout has series of."""
    raw, viewed = _parts(layout)
    return _names(raw) | _names(viewed)


def by_pair(layout: Layout) -> Iterator[tuple[Pair, IntArray]]:
    """Yield label pairs, `__name__` among them, with the positions of the series that carry them, ascending.

    A pair that raw series and views carry comes twice, the raw series first.
    """
    raw, viewed = _parts(layout)
    yield from _by_pair(raw)
    for pair, positions in _by_pair(viewed):
        yield pair, positions + len(raw)


class LayoutReader:
    """Looks at positions of many layouts; what layouts of the same lines have in common is found once."""

    def __init__(self) -> None:
        self._reads: dict[tuple[int, int, bytes], Reads] = {}
        self._codes: dict[tuple[int, bytes], list[list[int]]] = {}
        """Both by the identity of shapes, whose layouts must live as long as this, and by positions."""

    def reads(self, layout: Layout, positions: IntArray) -> Reads:
        """Return what some positions are; ascending ones."""
        if not isinstance(layout.views, ViewList):
            return _reads(layout, positions)
        key = id(layout.views.shape), len(layout.raw), positions.tobytes()
        known = self._reads.get(key)
        if known is None:
            known = self._reads[key] = _reads(layout, positions)
        return known

    def labels(self, layout: Layout, positions: IntArray) -> Iterator[Labels]:
        """Return the labels of some positions: sorted, with `__name__`. The positions ascend; there is one at least."""
        columns = len(layout.raw)
        if positions[-1] < columns:
            return self._labels(layout.raw, positions)
        viewed = _viewed(layout.views)
        if positions[0] >= columns:
            return self._labels(viewed, positions - columns)
        split = int(np.searchsorted(positions, columns))
        return chain(self._labels(layout.raw, positions[:split]), self._labels(viewed, positions[split:] - columns))

    def _labels(self, series: Sequence[Series], positions: IntArray) -> Iterator[Labels]:
        if not isinstance(series, SeriesList):
            return (with_name(series[position]) for position in positions.tolist())
        key = id(series.shape), positions.tobytes()
        codes = self._codes.get(key)
        if codes is None:
            codes = self._codes[key] = series.codes_at(positions.tolist())
        return series.labelled(codes)


def _reads(layout: Layout, positions: IntArray) -> Reads:
    columns = len(layout.raw)
    split = int(np.searchsorted(positions, columns))
    factors = np.ones(len(positions))
    if split == len(positions):
        return Reads(positions, factors, {})
    views, viewed = layout.views, positions[split:] - columns
    if isinstance(views, ViewList):
        first, factors[split:] = views.shape.first[viewed], views.shape.scale[viewed]
        several = [(n, views.shape.columns[view]) for n, view in enumerate(viewed.tolist(), split)]
    else:
        chosen = [views[view] for view in viewed.tolist()]
        first = np.array([view.columns[0] for view in chosen], dtype=np.int64)
        factors[split:] = [view.factor for view in chosen]
        several = [(n, view.columns) for n, view in enumerate(chosen, split)]
    sums = {n: columns for n, columns in several if len(columns) > 1}
    return Reads(np.concatenate((positions[:split], first)), factors, sums)


def with_name(series: Series) -> Labels:
    """Return a series' labels with `__name__`, sorted."""
    name = (METRIC_NAME, series.name)
    labels = series.labels
    if not labels or labels[0][0] > METRIC_NAME:
        return (name, *labels)
    return tuple(sorted((*labels, name)))


def _parts(layout: Layout) -> tuple[Sequence[Series], Sequence[Series]]:
    return layout.raw, _viewed(layout.views)


def _viewed(views: Sequence[View]) -> Sequence[Series]:
    return views.series if isinstance(views, ViewList) else [view.series for view in views]


def _names(series: Sequence[Series]) -> set[str]:
    return series.names if isinstance(series, SeriesList) else {one.name for one in series}


def _by_pair(series: Sequence[Series]) -> Iterator[tuple[Pair, IntArray]]:
    if isinstance(series, SeriesList):
        yield from series.by_pair()
        return
    found: dict[Pair, list[int]] = {}
    for position, (name, labels) in enumerate(series):
        for pair in chain(((METRIC_NAME, name),), labels):
            found.setdefault(pair, []).append(position)
    for pair, positions in found.items():
        yield pair, np.array(positions, dtype=np.int64)
