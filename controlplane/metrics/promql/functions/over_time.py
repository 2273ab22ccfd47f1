"""The `…_over_time` functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.promql.context import Evaluation, Function
from controlplane.metrics.promql.frame import Frame
from controlplane.metrics.promql.functions.quantile import quantile_rows
from controlplane.metrics.promql.functions.summation import sum_rows, sum_windows
from controlplane.metrics.promql.syntax.tree import Node
from controlplane.metrics.series.samples import Windows


def _reduced(reduction: Callable[[Windows], FloatArray], *, keep_name: bool = False) -> Function:
    """Return a function of windows that need at least one sample."""

    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        ranges = evaluation.ranges(args[0])
        values = reduction(ranges.windows)
        return ranges.frame(values, ranges.windows.counts > 0, keep_name=keep_name)

    return call


def _average(windows: Windows) -> FloatArray:
    total, counts = sum_windows(windows), windows.counts
    mean: FloatArray = total / counts
    overflown = ~np.isfinite(total)
    if overflown.any():
        # The sum may overflow where the mean does not. Then shares are added up instead of values.
        width = max(1, int(counts.max()))
        mean = np.where(overflown, windows.reduce(np.add, windows.samples.values / width) * (width / counts), mean)
    return mean


def _variance(values: FloatArray, filled: BoolArray, times: IntArray, picked: IntArray) -> FloatArray:
    count = filled.sum(axis=1)
    # The first sample is subtracted first. So equal values have a deviation of exactly 0, which users compare with:
    # `stddev_over_time(x[1h]) == 0`.
    shifted = np.where(filled, values - values[:, :1], 0.0)
    mean = sum_rows(shifted, filled) / count
    deviation = shifted - mean[:, None]
    result: FloatArray = sum_rows(deviation * deviation, filled) / count
    return result


def _stdvar(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    ranges = evaluation.ranges(args[0])
    return ranges.frame(*ranges.windows.apply(_variance))


def _stddev(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    ranges = evaluation.ranges(args[0])
    variance, present = ranges.windows.apply(_variance)
    return ranges.frame(np.sqrt(variance), present)


def _quantile(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    wanted, ranges = evaluation.scalars(args[0]), evaluation.ranges(args[1])
    steps = len(wanted)
    evaluation.annotations.quantiles(wanted[(ranges.windows.counts > 0).any(axis=0)], args[0])

    def quantile(values: FloatArray, filled: BoolArray, times: IntArray, picked: IntArray) -> FloatArray:
        return quantile_rows(wanted[picked % steps], values, filled)

    return ranges.frame(*ranges.windows.apply(quantile))


WINDOW_FUNCTIONS: dict[str, Function] = {
    "avg_over_time": _reduced(_average),
    "sum_over_time": _reduced(sum_windows),
    # A NaN is the result only if all values are NaN. That is why fmin and fmax are used.
    "min_over_time": _reduced(lambda w: w.reduce(np.fmin)),
    "max_over_time": _reduced(lambda w: w.reduce(np.fmax)),
    "count_over_time": _reduced(lambda w: w.counts.astype(np.float64)),
    "first_over_time": _reduced(lambda w: w.value_at(w.start), keep_name=True),
    "last_over_time": _reduced(lambda w: w.value_at(w.end - 1), keep_name=True),
    "present_over_time": _reduced(lambda w: np.ones(w.counts.shape)),
    "stdvar_over_time": _stdvar,
    "stddev_over_time": _stddev,
    "quantile_over_time": _quantile,
}
