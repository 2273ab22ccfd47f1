"""Vocabulary of samples: what every layer above passes around. Imports nothing of ours, so nothing can cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
"""Label pairs sorted by name, without `__name__` and without empty values. Hashable: the identity of a series."""

FloatArray = NDArray[np.float64]

METRIC_NAME = "__name__"
"""The label that a metric's name is where a series' name and labels are one set."""


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """Return the canonical tuple form of a label mapping: sorted, empty values dropped (Prometheus: empty = absent)."""
    return tuple(sorted((k, v) for k, v in pairs.items() if v))


class Series(NamedTuple):
    """The identity of one series."""

    name: str
    labels: Labels


class View(NamedTuple):
    """A canonical series as a view on raw columns: `factor * sum(columns)`. Never a copy of the values."""

    series: Series
    columns: tuple[int, ...]
    factor: float = 1.0


class Metadata(NamedTuple):
    """What an exposition's comments say of one metric family."""

    type: str
    """counter, gauge, histogram, summary or unknown."""
    help: str


@dataclass(frozen=True, eq=False)
class Layout:
    """The shape of one source's samples: which series, in which order. Values travel apart from it.

    Compared by identity: a source whose lines have not changed yields the same Layout object again, and the series
    store then appends one row of values without looking at a single label.
    """

    raw: Sequence[Series]
    """Series of column i; a series occurs once. Immutable, as the views are: a tuple, or packed (packed_series.py)."""
    views: Sequence[View] = ()
    metadata: Mapping[str, Metadata] = field(default_factory=dict)


class SampleSink(Protocol):
    """Where scraped and recorded samples land. Implemented by the series store; never blocks on I/O."""

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Store one row: `values[i]` is the value of `layout.raw[i]` at `timestamp_ms`.

        `source` names the writer (a target, a rule). Series of the source's previous layout that are not in this
        one get a staleness marker at `timestamp_ms`. Rows of one source arrive in time order; an older or equal
        timestamp is dropped and counted.
        """
        ...

    def end(self, source: str, timestamp_ms: int) -> None:
        """Mark every series of the source's last layout stale: its scrape failed, or the source is gone."""
        ...
