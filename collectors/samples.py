"""Types of samples and series, for all layers above. Imports nothing of ours, so that no import cycle is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
"""Label pairs sorted by name, without `__name__` and empty values. Hashable: part of a series' identity."""

FloatArray = NDArray[np.float64]
Int32Array = NDArray[np.int32]

METRIC_NAME = "__name__"
"""The label that a metric's name is where a series' name and labels are one set."""


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """Return the Labels of a mapping: sorted, without empty values (in Prometheus, an empty label is absent)."""
    return tuple(sorted((k, v) for k, v in pairs.items() if v))


class Series(NamedTuple):
    """Identity of one series."""

    name: str
    labels: Labels


class View(NamedTuple):
    """A canonical series computed from raw columns: `factor * sum(columns)`. Holds no values."""

    series: Series
    columns: tuple[int, ...]
    factor: float = 1.0


class Metadata(NamedTuple):
    """Type and help of one metric family, from the exposition's comments."""

    type: str
    """counter, gauge, histogram, summary or unknown."""
    help: str


class Picked(NamedTuple):
    """The samples of a body that relabelling leaves. The others are no columns."""

    positions: Int32Array
    """[columns] Position of each column among the samples of the body, ascending."""
    left: int
    """Samples that no rule drops. They are more than the columns where rules have made series equal."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The series of one source, in the order of its values. The values are not part of it.

    Compared by identity: a source with unchanged lines yields the same Layout object again, and the series store then
    appends one row of values without comparing labels.
    """

    raw: Sequence[Series]
    """`raw[i]` is the series of column i. Each series occurs once. Immutable: a tuple or packed (packed_series.py)."""
    views: Sequence[View] = ()
    """Immutable, as `raw`."""
    metadata: Mapping[str, Metadata] = field(default_factory=dict)
    unknown_labels: tuple[str, ...] = ()
    """Canonical metrics whose series are kept apart by labels that the catalogue does not know: `metric: label, …`."""
    picked: Picked | None = None
    """The samples of the body that are columns; None: all of them."""


class SampleSink(Protocol):
    """Stores scraped and recorded samples. The series store implements it. Never blocks on I/O."""

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Store one row: `values[i]` is the value of `layout.raw[i]` at `timestamp_ms`. One float64 per series.

        `source` names the writer (a target, a rule). Series of the source's previous layout that are not in this
        one get a staleness marker at `timestamp_ms`. A row that is not newer than the source's last row is dropped and
        counted.
        """
        ...

    def end(self, source: str, timestamp_ms: int) -> None:
        """Write staleness markers for all series of the source's last layout: its scrape failed, or it is gone."""
        ...
