"""Which series of a layout are sent, and how their values come out of a row."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray, Layout, Series
from controlplane.metrics.write.shipping.wire import encoded_labels

RULES = "rule:"
"""Sources of what rules record begin with it (alerts.evaluate)."""
OWN = "controlplane_"
_UP, _REPORT = "up", "scrape_"
_RECORDED, _RAW = frozenset({"recorded"}), frozenset({"raw"})
_OWN, _CANONICAL = frozenset({"own", "canonical"}), frozenset({"canonical"})


@dataclass(frozen=True, eq=False)
class Shipped:
    """What is sent of one layout: `labels[i]` is the series, encoded, whose value is `values(row)[i]`."""

    layout: Layout
    labels: tuple[bytes, ...]
    _columns: NDArray[np.intp]
    """Of all sums, one after the other."""
    _starts: NDArray[np.intp] | None
    """Where each sum begins among the columns; None where each is one column."""
    _scaled: NDArray[np.intp]
    _factors: FloatArray

    def values(self, row: FloatArray) -> FloatArray:
        """Return the values `[series]` of a row `[columns]`: `factor * sum`, as the store computes views."""
        values = row[self._columns]
        with np.errstate(invalid="ignore", over="ignore"):  # engines expose NaN and infinities
            if self._starts is not None:
                values = np.add.reduceat(values, self._starts)
            if len(self._scaled):
                # Only these: a product loses the bits that tell a staleness marker from other NaNs.
                values[self._scaled] *= self._factors
        return values


class Selection:
    """Chooses series by kind: `canonical` (among it `own`, which no engine exposes), `raw`, `recorded`."""

    def __init__(self, send: Collection[str], family: Callable[[str], object]) -> None:
        """`family` says of a sample's name whether it is canonical (returns something true)."""
        self._send, self._family = frozenset(send), family

    def of(self, source: str, layout: Layout) -> Shipped:
        """Return what is sent of a writer's layout, which may be nothing."""
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
