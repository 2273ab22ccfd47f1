"""A sink that keeps the last row of each source: its canonical series with their values."""

from __future__ import annotations

import numpy as np

from collectors.catalogue.model import Catalogue
from collectors.samples import FloatArray, Layout, Series


class CanonicalRows:
    """The last row of each source, as canonical series. Views are computed as in the store."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.canonical: dict[str, dict[Series, float]] = {}

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        family = self._catalogue.family
        native = {s: v for s, v in zip(layout.raw, values.tolist(), strict=True) if family(s.name)}
        views = {view.series: float(np.sum(values[list(view.columns)]) * view.factor) for view in layout.views}
        self.canonical[source] = native | views

    def end(self, source: str, timestamp_ms: int) -> None:
        raise AssertionError("nothing ends here")
