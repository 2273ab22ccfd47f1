"""Functions of a series' change within a window: rate, increase, delta, deriv and others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.promql.annotations.collected import COUNTER_ENDINGS
from controlplane.metrics.promql.context import Evaluation, Function, Ranges
from controlplane.metrics.promql.frame import Frame
from controlplane.metrics.promql.functions.summation import sum_rows
from controlplane.metrics.promql.syntax.tree import Node, Range, metric_name
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.label_sets import LabelSets, label_value
from controlplane.metrics.series.samples import Windows

EXTRAPOLATION_THRESHOLD = 1.1
"""Distance to a window's edge, in average distances of samples, up to which a rate is extrapolated to the edge.
Source: Prometheus's extrapolatedRate."""


def extrapolated(*, counter: bool, per_second: bool) -> Function:
    """Return rate (counter, per second), increase (counter) or delta (neither)."""

    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        ranges = evaluation.ranges(args[0])
        windows = ranges.windows
        present = windows.counts >= 2
        if counter and not _names_a_counter(args[0]):
            names = _names(LabelSets.of(windows.samples.labels), present)
            evaluation.annotations.not_counters((n for n in names if not n.endswith(COUNTER_ENDINGS)), args[0])
        rise = _rise(windows, counter)
        values = rise * _factor(ranges, rise, counter)
        if per_second:
            values = values / ranges.range_s
        return ranges.frame(values, present)

    return call


def _names_a_counter(node: Node) -> bool:
    """Return whether the selector itself names one metric with a counter's ending. That needs no look at the series."""
    return isinstance(node, Range) and (metric_name(node.selector) or "").endswith(COUNTER_ENDINGS)


def _names(sets: LabelSets, present: BoolArray) -> list[str]:
    """Return the names of the metrics that have a value at some step."""
    groups = sets.grouping("by", frozenset((METRIC_NAME,)))
    seen = np.unique(groups.of_series[present.any(axis=1)])
    return [name for number in seen.tolist() if (name := label_value(groups.keys[number], METRIC_NAME))]


def _rise(windows: Windows, counter: bool) -> FloatArray:
    """Return the last minus the first value of each window, plus the drops at counter resets: [series, steps]."""
    rise = windows.value_at(windows.end - 1) - windows.value_at(windows.start)
    if not counter:
        return rise
    values = windows.samples.values
    lost = np.zeros(len(values))
    before = values[:-1]
    np.copyto(lost[1:], before, where=values[1:] < before)
    # A drop between two series is not a reset. It is at a window's first sample, which is skipped.
    if lost.any():
        rise = rise + windows.reduce(np.add, lost, skip=1)
    return rise


def _factor(ranges: Ranges, rise: FloatArray, counter: bool) -> FloatArray:
    """Return the extrapolated interval divided by the sampled interval: [series, steps]."""
    windows = ranges.windows
    first, last = windows.time_at(windows.start), windows.time_at(windows.end - 1)
    to_start = (first - ranges.after_ms) / 1000
    to_end = (ranges.until_ms - last) / 1000
    sampled = (last - first) / 1000
    average = sampled / (windows.counts - 1)
    threshold = average * EXTRAPOLATION_THRESHOLD
    to_start = np.where(to_start >= threshold, average / 2, to_start)
    if counter:
        # A counter is never negative, so it is not extrapolated beyond the point where it was zero.
        initial = windows.value_at(windows.start)
        to_zero = sampled * (initial / rise)
        to_start = np.where((rise > 0) & (initial >= 0) & (to_zero < to_start), to_zero, to_start)
    to_end = np.where(to_end >= threshold, average / 2, to_end)
    factor: FloatArray = (sampled + to_start + to_end) / sampled
    return factor


def instant_change(*, counter: bool) -> Function:
    """Return irate (counter) or idelta: the change between the last two samples. irate is per second, with resets."""

    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        ranges = evaluation.ranges(args[0])
        windows = ranges.windows
        last, before = windows.value_at(windows.end - 1), windows.value_at(windows.end - 2)
        values = last - before
        if counter:
            values = np.where(last < before, last, values)
            values /= (windows.time_at(windows.end - 1) - windows.time_at(windows.end - 2)) / 1000
        return ranges.frame(values, windows.counts >= 2)

    return call


def counted(differs: Callable[[FloatArray, FloatArray], BoolArray]) -> Function:
    """Return a function that counts the neighbouring samples (earlier, later) for which `differs` holds."""

    def call(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
        ranges = evaluation.ranges(args[0])
        values = ranges.windows.samples.values
        flags = np.zeros(len(values), dtype=np.int64)
        flags[1:] = differs(values[:-1], values[1:])
        counts = ranges.windows.difference(np.cumsum(flags), skip=1)
        return ranges.frame(counts.astype(np.float64), ranges.windows.counts >= 1)

    return call


def _changed(before: FloatArray, after: FloatArray) -> BoolArray:
    changed: BoolArray = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return changed


def _reset(before: FloatArray, after: FloatArray) -> BoolArray:
    return after < before


def _regression(values: FloatArray, filled: BoolArray, times: IntArray, at_ms: IntArray) -> tuple[FloatArray, ...]:
    """Return slope (per second) and value at `at_ms` of least-squares lines, both [windows].

    `values`, `filled` and `times` are [windows, width], and `at_ms` is [windows].
    """
    x = np.where(filled, (times - at_ms[:, None]) / 1000, 0.0)
    n = filled.sum(axis=1)
    sum_x, sum_y = sum_rows(x, filled), sum_rows(values, filled)
    covariance = sum_rows(x * values, filled) - sum_x * sum_y / n
    variance = sum_rows(x * x, filled) - sum_x * sum_x / n
    slope = covariance / variance
    intercept = sum_y / n - slope * sum_x / n
    # A constant series has slope 0 exactly, unless it is infinite (Prometheus's linearRegression).
    constant = (np.where(filled, values, values[:, :1]) == values[:, :1]).all(axis=1)
    infinite = np.isinf(values[:, 0])
    slope = np.where(constant, np.where(infinite, np.nan, 0.0), slope)
    intercept = np.where(constant, np.where(infinite, np.nan, values[:, 0]), intercept)
    return slope, intercept


def deriv(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return the slope per second of the least-squares line through a window."""
    ranges = evaluation.ranges(args[0])

    def slope(values: FloatArray, filled: BoolArray, times: IntArray, picked: IntArray) -> FloatArray:
        # Times count from the first sample, which keeps precision.
        return _regression(values, filled, times, times[:, 0])[0]

    return ranges.frame(*ranges.windows.apply(slope, least=2))


def predict_linear(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return the value of the least-squares line through a window, at a number of seconds after the evaluation time."""
    ranges, ahead = evaluation.ranges(args[0]), evaluation.scalars(args[1])
    steps = evaluation.steps

    def predict(values: FloatArray, filled: BoolArray, times: IntArray, picked: IntArray) -> FloatArray:
        step = picked % len(steps)
        slope, intercept = _regression(values, filled, times, steps[step])
        predicted: FloatArray = slope * ahead[step] + intercept
        return predicted

    return ranges.frame(*ranges.windows.apply(predict, least=2))


RATE_FUNCTIONS: dict[str, Function] = {
    "rate": extrapolated(counter=True, per_second=True),
    "increase": extrapolated(counter=True, per_second=False),
    "delta": extrapolated(counter=False, per_second=False),
    "irate": instant_change(counter=True),
    "idelta": instant_change(counter=False),
    "changes": counted(_changed),
    "resets": counted(_reset),
    "deriv": deriv,
    "predict_linear": predict_linear,
}
