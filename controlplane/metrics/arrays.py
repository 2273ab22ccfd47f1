"""Arrays of samples, and what marks the end of a series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

STALE_BITS = 0x7FF0000000000002
"""Prometheus's staleness marker: a NaN that no computation yields (model/value/value.go)."""


def mark_stale(values: FloatArray, where: BoolArray | None = None) -> None:
    """Overwrite elements (of a contiguous array; all by default) with the staleness marker.

    It is set as an integer because arithmetic would quiet it. `where` masks elements, in the array's shape.
    """
    values.view(np.int64)[... if where is None else where] = STALE_BITS


def is_stale(values: FloatArray) -> BoolArray:
    """Return a mask, shaped as `values`, of the elements that are staleness markers. `values` must be contiguous."""
    return np.equal(values.view(np.int64), STALE_BITS)


class Rows(NamedTuple):
    """A run of consecutive rows of one block, some of its columns."""

    times: IntArray
    """[rows] unix milliseconds, strictly increasing."""
    values: FloatArray
    """[columns, rows], contiguous."""
    ends: BoolArray
    """[rows] true where the row only says that the source's series ended."""
