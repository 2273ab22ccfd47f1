"""Types of the arrays of samples, and the staleness marker, which marks the end of a series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray

IntArray = NDArray[np.int64]
"""int64. In this package a docstring such as `[series, steps]` gives an array's shape, and its type gives the dtype.
FloatArray is float64."""
BoolArray = NDArray[np.bool_]

STALE_BITS = 0x7FF0000000000002
"""Prometheus's staleness marker: a NaN that no computation yields (model/value/value.go)."""


def mark_stale(values: FloatArray, where: BoolArray | None = None) -> None:
    """Overwrite elements of `values` with the staleness marker.

    `values` is contiguous float64 of any shape. `where` is a mask of the same shape; None means all elements. The
    marker is written as an integer, because float arithmetic may change the bits of a NaN.
    """
    values.view(np.int64)[... if where is None else where] = STALE_BITS


def is_stale(values: FloatArray) -> BoolArray:
    """Return a bool mask of the elements that are staleness markers, in the shape of `values`.

    `values` must be contiguous.
    """
    return np.equal(values.view(np.int64), STALE_BITS)


class Rows(NamedTuple):
    """Consecutive rows of one block, reduced to some of its columns."""

    times: IntArray
    """[rows] unix milliseconds, strictly increasing."""
    values: FloatArray
    """[columns, rows], contiguous."""
    ends: BoolArray
    """[rows] true for an end row, which only says that the source's series ended."""
