"""Selection of the series of a layout that are sent, and of their values from a row."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray, Layout, Series
from controlplane.metrics.write.shipping.wire import encoded_labels

RULES = "rule:"
"""Prefix of the sources of rules (alerts.evaluate)."""
OWN = "controlplane_"
_UP, _REPORT = "up", "scrape_"
_RECORDED, _RAW = frozenset({"recorded"}), frozenset({"raw"})
_OWN, _CANONICAL = frozenset({"own", "canonical"}), frozenset({"canonical"})


@dataclass(frozen=True, eq=False)
class Shipped:
    """The series of one layout that are sent. `labels[i]` has the encoded labels of the value `values(row)[i]`."""

    layout: Layout
    labels: tuple[bytes, ...]
    _columns: NDArray[np.intp]
    """Columns of all sums, sum after sum."""
    _starts: NDArray[np.intp] | None
    """[series] index in `_columns` at which each sum begins. None if each sum has one column."""
    _scaled: NDArray[np.intp]
    _factors: FloatArray

    def values(self, row: FloatArray) -> FloatArray:
        """Return the values `[series]` of a row `[columns]`: `factor * sum`, as the store computes views."""
        values = row[self._columns]
        with np.errstate(invalid="ignore", over="ignore"):  # engines expose NaN and infinities
            if self._starts is not None:
                values = np.add.reduceat(values, self._starts)
            if len(self._scaled):
                # Only scaled series are multiplied: a product may lose the bits of a staleness marker.
                values[self._scaled] *= self._factors
        return values


class Selection:
    """Selects series by kind: `canonical` (it includes `own`, which no engine exposes), `raw`, `recorded`."""

    def __init__(self, send: Collection[str], family: Callable[[str], object]) -> None:
        """`family` returns a true value if a sample's name is canonical."""
        self._send, self._family = frozenset(send), family

    def of(self, source: str, layout: Layout) -> Shipped:
        """Return the series of a source's layout that are sent. There may be none."""
        chosen: list[tuple[Series, tuple[int, ...], float]] = []
        for column, series in enumerate(layout.raw):
            if self._kinds(source, series.name) & self._send:
                chosen.append((series, (column,), 1.0))
        if "canonical" in self._send:
            chosen += layout.views
        counts = np.array([len(columns) for _, columns, _ in chosen], dtype=np.intp)
        factors = np.array([factor for _, _, factor in chosen], dtype=np.float64)
        scaled = np.flatnonzero(factors != 1.0)
        return Shipped(
            layout,
            tuple(encoded_labels(series) for series, _, _ in chosen),
            np.array([column for _, columns, _ in chosen for column in columns], dtype=np.intp),
            None if (counts == 1).all() else np.cumsum(counts) - counts,
            scaled,
            factors[scaled],
        )

    def _kinds(self, source: str, name: str) -> frozenset[str]:
        if source.startswith(RULES):
            return _RECORDED
        if self._family(name) or name.startswith(OWN):
            return _OWN  # an engine's numbers get their canonical names by views
        return _CANONICAL if name == _UP or name.startswith(_REPORT) else _RAW
