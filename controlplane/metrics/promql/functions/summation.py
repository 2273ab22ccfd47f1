"""Sums that stay right where numbers cancel out.

Prometheus adds up with compensation (Neumaier's variant of Kahan summation): `1e100 + 1 - 1e100` is 1. Numpy's
reductions do not compensate, and need not where nothing cancels: the error is then some units in the last place. So
sums are taken plainly, and those that lost most of their summands' size are taken again, exactly (`math.fsum`).
"""

from __future__ import annotations

import math

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray
from controlplane.metrics.promql.frame import Groups
from controlplane.metrics.series.samples import Windows

CANCELLED = 1e-3
"""A sum below this share of its summands' absolute sum is taken again: plainly summed, its relative error could pass
1e-9 from some ten thousand summands on."""


def sum_groups(groups: Groups, values: FloatArray) -> FloatArray:
    """Return the sums [groups, steps] of values [series, steps]."""
    total = groups.reduce(np.add, values)
    if _of_one_sign(values):
        return total
    lossy = _lossy(total, groups.reduce(np.add, np.abs(values)))
    members = list(groups.members()) if lossy.any() else []
    for group, step in np.argwhere(lossy).tolist():
        total[group, step] = math.fsum(values[members[group], step].tolist())
    return total


def sum_windows(windows: Windows) -> FloatArray:
    """Return the sums [series, steps] of windows' samples, 0 for an empty window."""
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
    """Return where a sum lost its summands' size; never where that is infinite or NaN, which is exact as it is."""
    lossy: BoolArray = np.isfinite(size) & (np.abs(total) < size * CANCELLED)
    return lossy


def sum_rows(values: FloatArray, filled: BoolArray) -> FloatArray:
    """Return the sum of each row's filled elements, of which there is at least one.

    It does not depend on the width of the padding, as `values.sum(axis=1)` does in the last place: an instant query
    and a step of a range query have windows of other widths, and must agree.
    """
    starts = np.concatenate(([0], np.cumsum(filled.sum(axis=1))[:-1]))
    sums: FloatArray = np.add.reduceat(values[filled], starts)
    return sums
