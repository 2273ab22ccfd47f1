"""Sums that are right even where numbers cancel out.

Prometheus adds up with compensation (Neumaier's variant of Kahan summation): `1e100 + 1 - 1e100` is 1. Numpy's
reductions do not compensate. Where nothing cancels, their error is some units in the last place. Therefore sums are
taken with numpy first. A sum that is much smaller than its summands is then taken again, exactly (`math.fsum`).
"""

from __future__ import annotations

import math

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray
from controlplane.metrics.promql.frame import Groups
from controlplane.metrics.series.samples import Windows

CANCELLED = 1e-3
"""Least share of the summands' absolute sum at which numpy's sum is kept. Below it the relative error could exceed 1e-9
from some ten thousand summands on."""


def sum_groups(groups: Groups, values: FloatArray) -> FloatArray:
    """Return the sums [groups, steps] of `values` [series, steps] over each group's series."""
    total = groups.reduce(np.add, values)
    if _of_one_sign(values):
        return total
    lossy = _lossy(total, groups.reduce(np.add, np.abs(values)))
    members = list(groups.members()) if lossy.any() else []
    for group, step in np.argwhere(lossy).tolist():
        total[group, step] = math.fsum(values[members[group], step].tolist())
    return total


def sum_windows(windows: Windows) -> FloatArray:
    """Return the sum of each window's samples, [series, steps]. The sum of an empty window is 0."""
    total = windows.reduce(np.add)
    values = windows.samples.values
    if _of_one_sign(values):
        return total
    lossy = _lossy(total, windows.reduce(np.add, np.abs(values)))
    for row, step in np.argwhere(lossy).tolist():
        total[row, step] = math.fsum(values[windows.start[row, step] : windows.end[row, step]].tolist())
    return total


def _of_one_sign(values: FloatArray) -> bool:
    return not values.size or bool(values.min() >= 0) or bool(values.max() <= 0)


def _lossy(total: FloatArray, size: FloatArray) -> BoolArray:
    """Return a mask of the sums to take again. `size` is the absolute sum of the summands, in the same shape.

    A sum with an infinite or NaN size is never taken again: it is exact.
    """
    lossy: BoolArray = np.isfinite(size) & (np.abs(total) < size * CANCELLED)
    return lossy


def sum_rows(values: FloatArray, filled: BoolArray) -> FloatArray:
    """Return the sum of each row's filled elements: float64 of shape [n]. Each row must have a filled element.

    `values` and `filled` are [n, width]. The result does not depend on the width, as `values.sum(axis=1)` does in the
    last place. An instant query and a step of a range query have windows of different widths, and must agree.
    """
    starts = np.concatenate(([0], np.cumsum(filled.sum(axis=1))[:-1]))
    sums: FloatArray = np.add.reduceat(values[filled], starts)
    return sums
