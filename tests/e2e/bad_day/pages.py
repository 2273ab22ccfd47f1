"""Pages of metrics whose every number is a function of the time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from collectors.samples import FloatArray
from tests.e2e.bad_day.curves import Grid, below, counted, mean


class Page:
    """One target's `/metrics`. Add families in order; `finish` before the first `body`."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._lines: list[bytes] = []
        """Comments, and heads of samples, which end with a blank."""
        self._columns: list[FloatArray] = []
        self._table: FloatArray = np.empty((0, 0))
        self._whole = np.empty(0, dtype=bool)

    def family(self, name: str, kind: str, samples: Sequence[tuple[Mapping[str, str], FloatArray]]) -> None:
        """Add the samples of a gauge or a counter: labels, and values as [points]."""
        self._lines.append(f"# TYPE {name} {kind}".encode())
        for labels, values in samples:
            self._sample(name, labels, values)

    def histogram(
        self, name: str, labels: Mapping[str, str], bounds: Sequence[float], rate: FloatArray, median: FloatArray
    ) -> None:
        """Add a histogram of `rate` observations a second whose median is `median` seconds, both [points]."""
        self._lines.append(f"# TYPE {name} histogram".encode())
        self.cells(name, labels, bounds, rate, median)

    def cells(
        self, name: str, labels: Mapping[str, str], bounds: Sequence[float], rate: FloatArray, median: FloatArray
    ) -> None:
        """Add the samples of one more label set to the histogram that was added last."""
        for bound in (*bounds, float("inf")):
            le = "+Inf" if bound == float("inf") else repr(bound)
            self._sample(f"{name}_bucket", {**labels, "le": le}, counted(rate * below(bound, median)))
        self._sample(f"{name}_sum", labels, counted(rate * mean(median)))
        self._sample(f"{name}_count", labels, counted(rate))

    def finish(self) -> Page:
        """Return the page, which is complete."""
        self._table, self._columns = np.stack(self._columns, axis=1), []
        self._whole = (self._table == np.round(self._table)).all(axis=0)
        return self

    def rows(self, times: FloatArray) -> FloatArray:
        """Return the values at `times` in the order of the page, [times, samples]. Whole numbers stay whole."""
        rows = self.grid.rows(self._table, times)
        return np.where(self._whole, np.round(rows), rows)

    def body(self, at: float) -> bytes:
        """Return the text at unix second `at`."""
        values: Iterator[float] = iter(self.rows(np.array([at]))[0].tolist())
        lines = [line + repr(next(values)).encode() if line.endswith(b" ") else line for line in self._lines]
        return b"\n".join(lines) + b"\n"

    def _sample(self, name: str, labels: Mapping[str, str], values: FloatArray) -> None:
        told = ",".join(f'{key}="{value}"' for key, value in labels.items())
        self._lines.append(f"{name}{{{told}}} ".encode())
        self._columns.append(values)
