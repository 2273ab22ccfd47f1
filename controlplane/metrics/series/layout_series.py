"""Reads the series of a layout by position: raw columns first, then views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import LEAST, Pair, SeriesList, ViewList, packed
from collectors.samples import METRIC_NAME, FloatArray, Labels, Layout, Series, View
from controlplane.metrics.arrays import BoolArray, IntArray


class Reads(NamedTuple):
    """Values of some positions as `factor * sum(columns)`. Arrays are `[positions]`."""

    first: IntArray
    """The first column of each position."""
    factors: FloatArray
    sums: dict[int, tuple[int, ...]]
    """All columns of each position that is a sum of several, by index into the arrays."""


def compact(layout: Layout, interner: Interner) -> Layout:
    """Return a layout with its series packed: the table keeps it until its rows expire. Rules' layouts are not packed.

    `interner` shares parts with other layouts.
    """
    if isinstance(layout.raw, SeriesList) or len(layout.raw) < LEAST:
        return layout
    return packed(layout, interner)


def positions_of(layout: Layout) -> int:
    """Return the number of positions of a layout."""
    return len(layout.raw) + len(layout.views)


def series_of(layout: Layout) -> list[Series]:
    """Return the series of all positions."""
    return [*layout.raw, *_viewed(layout.views)]


def series_at(layout: Layout, position: int) -> Series:
    """Return the series of one position."""
    raw = layout.raw
    return raw[position] if position < len(raw) else layout.views[position - len(raw)].series


def names_of(layout: Layout) -> set[str]:
    """Return the metric names of a layout's series."""
    raw, viewed = _parts(layout)
    return _names(raw) | _names(viewed)


def lists_of(layout: Layout) -> Iterator[tuple[int, Sequence[Series]]]:
    """Yield the layout's lists of series, raw ones first, each with the position of its first series."""
    raw, viewed = _parts(layout)
    yield 0, raw
    if viewed:
        yield len(raw), viewed


def metrics_of(series: Sequence[Series], mine: BoolArray) -> set[str]:
    """Return the metric names of the series of a list for which `mine` `[series]` is true."""
    if mine.all():
        return _names(series)
    return {series[position].name for position in np.flatnonzero(mine).tolist()}


def pairs_of(series: Iterable[Series]) -> Iterable[Pair]:
    """Return the label pairs of some series, `__name__` left out where that is cheap. A pair may come twice."""
    if isinstance(series, SeriesList):
        return (*series.own, *series.shape.pairs)
    return chain.from_iterable(labels for _, labels in series)


def by_pair(series: Sequence[Series]) -> Iterator[tuple[Pair, IntArray]]:
    """Yield each label pair, `__name__` included, with the positions of its series: ascending int64 of shape [n]."""
    if isinstance(series, SeriesList):
        yield from series.by_pair()
        return
    found: dict[Pair, list[int]] = {}
    for position, (name, labels) in enumerate(series):
        for pair in chain(((METRIC_NAME, name),), labels):
            found.setdefault(pair, []).append(position)
    for pair, positions in found.items():
        yield pair, np.array(positions, dtype=np.int64)


class LayoutReader:
    """Reads positions of many layouts. Results that layouts with the same shape share are cached."""

    def __init__(self) -> None:
        self._reads: dict[tuple[int, int, bytes], Reads] = {}
        self._codes: dict[tuple[int, bytes], list[list[int]]] = {}
        """Both caches are keyed by the identity of shapes and by positions. The layouts must live as long as this."""

    def reads(self, layout: Layout, positions: IntArray) -> Reads:
        """Return the columns and factors at `positions`, ascending int64 of shape [n]."""
        if not isinstance(layout.views, ViewList):
            return _reads(layout, positions)
        key = id(layout.views.shape), len(layout.raw), positions.tobytes()
        known = self._reads.get(key)
        if known is None:
            known = self._reads[key] = _reads(layout, positions)
        return known

    def labels(self, layout: Layout, positions: IntArray) -> Iterator[Labels]:
        """Return the labels, sorted and with `__name__`, at `positions`: at least one, ascending int64 of shape [n]."""
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
