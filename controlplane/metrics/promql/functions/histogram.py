"""Quantiles and fractions of classic histograms."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.promql.context import Evaluation, Function
from controlplane.metrics.promql.frame import Frame, Groups, empty
from controlplane.metrics.promql.syntax.tree import Node
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.label_sets import LabelSets, label_value
from controlplane.metrics.series.samples import by_pattern

BUCKET = "le"

SMALL_DELTA = 1e-12
"""Relative difference between bucket counts that counts as a rounding error. Source: Prometheus's
smallDeltaTolerance."""

_BOUND = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf|infinity)", re.ASCII | re.IGNORECASE)

OfBuckets = Callable[[tuple[FloatArray, ...], FloatArray, FloatArray], FloatArray]
"""A function of histograms: (parameters, each [n]; upper bounds [buckets], sorted; counts [buckets, n]) to [n]."""

AreForced = Callable[[tuple[FloatArray, ...], FloatArray, FloatArray], BoolArray]
"""A function with the same arguments, to a mask [n] of the histograms whose counts had to be changed."""


def histogram_quantile(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return the quantile of each group of `…_bucket` series; see `bucket_quantile`."""
    wanted = evaluation.scalars(args[0])
    evaluation.annotations.quantiles(wanted, args[0])
    values, forced = _per_histogram(
        *_buckets(evaluation, args[1]),
        (wanted,),
        lambda params, bounds, counts: bucket_quantile(params[0], bounds, counts),
        lambda params, bounds, counts: forced_monotonicity(params[0], bounds, counts),
    )
    for name in _names(forced):
        evaluation.annotations.forced_monotonicity(name, args[1])
    return values


def histogram_fraction(evaluation: Evaluation, args: tuple[Node, ...]) -> Frame:
    """Return the share of observations between two values for each group of `…_bucket` series."""
    lower, upper = evaluation.scalars(args[0]), evaluation.scalars(args[1])
    values, _ = _per_histogram(
        *_buckets(evaluation, args[2]),
        (lower, upper),
        lambda params, bounds, counts: bucket_fraction(params[0], params[1], bounds, counts),
    )
    return values


def _buckets(evaluation: Evaluation, node: Node) -> tuple[Frame, FloatArray]:
    """Return the series of a vector that are buckets, and their upper bounds [series]. Annotate the other series."""
    frame = evaluation.frame(node)
    sets = frame.sets
    upper = sets.numbers(BUCKET, _bound)
    unbounded = np.isnan(upper)
    if not unbounded.any():
        return frame, upper
    others = sets.take(np.flatnonzero(unbounded))
    for labels in others.grouping("by", frozenset((METRIC_NAME, BUCKET))).keys:
        evaluation.annotations.bad_bucket(label_value(labels, METRIC_NAME), label_value(labels, BUCKET), node)
    rows = np.flatnonzero(~unbounded)
    return frame.take(rows), upper[rows]


def _names(sets: LabelSets) -> list[str]:
    named = sets.grouping("by", frozenset((METRIC_NAME,))).keys
    return [label_value(labels, METRIC_NAME) for labels in named]


def _per_histogram(
    frame: Frame,
    upper: FloatArray,
    params: tuple[FloatArray, ...],
    compute: OfBuckets,
    forced: AreForced | None = None,
) -> tuple[Frame, LabelSets]:
    """Compute a value of each histogram at each step. A histogram is the buckets that differ in `le` alone.

    `upper` [series] has the bounds of the buckets, and each of `params` is [steps]. Also return the labels of the
    histograms for which `forced` is true at some step. Raises QueryError(execution) when histograms that differ in
    their names alone have values at the same step.
    """
    if not len(upper):
        return empty(frame.values.shape[1]), LabelSets.of([])
    groups = Groups(frame.sets.grouping("except", frozenset((BUCKET,))))
    values = np.zeros((len(groups.keys), frame.values.shape[1]))
    present = np.zeros(values.shape, dtype=np.bool_)
    changed: list[IntArray] = []
    for bucket_bounds, batch, series in _batches(groups, upper):
        counts = frame.values[series].transpose(1, 0, 2).reshape(len(bucket_bounds), -1)
        filled = frame.present[series].transpose(1, 0, 2).reshape(len(bucket_bounds), -1)
        wanted = tuple(np.tile(param, len(batch)) for param in params)
        result = np.zeros(counts.shape[1])
        # Steps at which the same buckets exist are computed together. Usually these are all steps.
        for columns, buckets in by_pattern(filled.T):
            if len(buckets):
                histograms = (
                    tuple(param[columns] for param in wanted),
                    *_coalesced(bucket_bounds[buckets], counts[np.ix_(buckets, columns)]),
                )
                result[columns] = compute(*histograms)
                if forced is not None:
                    changed.append(batch[columns[forced(*histograms)] // values.shape[1]])
        values[batch] = result.reshape(len(batch), -1)
        present[batch] = filled.any(axis=0).reshape(len(batch), -1)
    odd = groups.keys.take(np.unique(np.concatenate(changed))) if changed else LabelSets.of([])
    return Frame(groups.keys, values, present).occupied().without_name(), odd


def _bound(text: str) -> float | None:
    return float(text) if _BOUND.fullmatch(text) else None


def _batches(groups: Groups, upper: FloatArray) -> list[tuple[FloatArray, IntArray, IntArray]]:
    """Return (bounds [buckets], group numbers [groups], series [groups, buckets]) for groups with the same bounds."""
    order = np.lexsort((upper, groups.of_series))
    sizes = np.diff(groups.grouping.starts, append=len(order))
    batches = []
    for size in np.unique(sizes):
        numbers = np.flatnonzero(sizes == size)
        series = order[groups.grouping.starts[numbers][:, None] + np.arange(size)]
        bounds, which = np.unique(upper[series], axis=0, return_inverse=True)
        for n, shared in enumerate(bounds):
            alike = which.reshape(-1) == n
            batches.append((shared, numbers[alike], series[alike]))
    return batches


def bucket_quantile(wanted: FloatArray, bounds: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the quantiles `wanted` [n] of n histograms: float64 of shape [n].

    `bounds` [buckets] are ascending upper bounds, and `counts` [buckets, n] are cumulative. The result is NaN without
    a +Inf bucket, with fewer than two buckets, or without observations. A quantile in the +Inf bucket is the highest
    finite bound. The lowest bucket starts at 0 if its bound is positive.
    """
    if not np.isposinf(bounds[-1]) or len(bounds) < 2:
        return _outside(wanted, np.full(len(wanted), np.nan))
    counts = _monotonic(counts)
    total = counts[-1]
    columns = np.arange(len(wanted))
    rank = wanted * total
    reached = counts[:-1] >= rank
    bucket = np.where(reached.any(axis=0), reached.argmax(axis=0), len(bounds) - 1)
    inner = np.minimum(bucket, len(bounds) - 2)
    below = np.maximum(inner - 1, 0)
    start = np.where(inner > 0, bounds[below], 0.0)
    count_below = np.where(inner > 0, counts[below, columns], 0.0)
    share = (rank - count_below) / (counts[inner, columns] - count_below)
    result = start + (bounds[inner] - start) * share
    result = np.where((bucket == 0) & (bounds[0] <= 0), bounds[0], result)
    result = np.where(bucket == len(bounds) - 1, bounds[-2], result)
    return _outside(wanted, np.where(total == 0, np.nan, result))


def forced_monotonicity(wanted: FloatArray, bounds: FloatArray, counts: FloatArray) -> BoolArray:
    """Return a mask [n] of the histograms in which a bucket's count is below an earlier one by more than rounding.

    The arguments are those of `bucket_quantile`. A wanted quantile outside [0, 1] is false.
    """
    if not (counts[1:] < counts[:-1]).any() or not np.isposinf(bounds[-1]):
        return np.zeros(len(wanted), dtype=np.bool_)
    raised = _monotonic(counts)
    forced: BoolArray = ((raised > counts) & ~_close(raised, counts)).any(axis=0) & (wanted >= 0) & (wanted <= 1)
    return forced


def _outside(wanted: FloatArray, result: FloatArray) -> FloatArray:
    result = np.where(wanted < 0, -np.inf, np.where(wanted > 1, np.inf, result))
    return np.where(np.isnan(wanted), np.nan, result)


def bucket_fraction(lower: FloatArray, upper: FloatArray, bounds: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the share of observations between `lower` [n] and `upper` [n] of n histograms: float64 of shape [n].

    `bounds` and `counts` are as in `bucket_quantile`. Buckets are interpolated linearly. The result is NaN without a
    +Inf bucket, without observations, or for a NaN limit. It is 0 where `lower` is not below `upper`.
    """
    total = counts[-1]
    if not np.isposinf(bounds[-1]):
        return np.full(len(lower), np.nan)
    share = (_observed_below(upper, bounds, counts) - _observed_below(lower, bounds, counts)) / total
    share = np.where(lower >= upper, 0.0, share)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, share)


def _observed_below(value: FloatArray, bounds: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the number of observations at or below `value` [n]: float64 of shape [n].

    Observations in the +Inf bucket are above every finite value.
    """
    columns = np.arange(len(value))
    bucket = np.searchsorted(bounds, np.where(np.isnan(value), np.inf, value))
    lowest = 0.0 if bounds[0] > 0 else -np.inf
    start = np.where(bucket > 0, bounds[np.maximum(bucket - 1, 0)], lowest)
    below = np.where(bucket > 0, counts[np.maximum(bucket - 1, 0), columns], 0.0)
    inside = counts[bucket, columns]
    share = (value - start) / (bounds[bucket] - start)
    # A bucket without a lower bound cannot be interpolated. All its observations count as below the value.
    result = np.where(np.isneginf(start), inside, below + (inside - below) * share)
    result = np.where(value == bounds[bucket], inside, np.where(value <= start, below, result))
    return np.minimum(result, counts[-1])


def _coalesced(bounds: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return bounds and counts with the buckets of one bound (`le="1"` and `le="1.0"`) added up."""
    starts = np.flatnonzero(np.append(True, bounds[1:] != bounds[:-1]))
    if len(starts) == len(bounds):
        return bounds, counts
    return bounds[starts], np.add.reduceat(counts, starts, axis=0)


def _monotonic(counts: FloatArray) -> FloatArray:
    """Return counts [buckets, n] that never decrease, with differences of rounding errors removed."""
    counts = counts.copy()
    for row in range(1, len(counts)):
        before, now = counts[row - 1], counts[row]
        counts[row] = np.where(_close(now, before) | (now < before), before, now)
    return counts


def _close(a: FloatArray, b: FloatArray) -> BoolArray:
    close: BoolArray = np.abs(a - b) <= SMALL_DELTA * np.minimum(np.abs(a) + np.abs(b), np.finfo(float).max)
    return close


HISTOGRAM_FUNCTIONS: dict[str, Function] = {
    "histogram_quantile": histogram_quantile,
    "histogram_fraction": histogram_fraction,
}
