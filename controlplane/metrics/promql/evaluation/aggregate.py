"""Aggregation operators. Series are grouped once a query, and values are reduced over all steps at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from collectors.samples import FloatArray
from controlplane.errors import QueryError
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.promql.context import Evaluation
from controlplane.metrics.promql.frame import Frame, Groups, empty
from controlplane.metrics.promql.functions.quantile import quantile_rows
from controlplane.metrics.promql.functions.summation import sum_groups
from controlplane.metrics.promql.syntax.tree import Aggregate
from controlplane.metrics.promql.values import format_value
from controlplane.metrics.series.index import METRIC_NAME
from promql.strings import readable

Reduction = Callable[[Frame, Groups], FloatArray]


def aggregate(evaluation: Evaluation, node: Aggregate) -> Frame:
    """Evaluate an aggregation. Raises QueryError(bad_data) when the operator is not supported."""
    operator = _PARAMETRIC.get(node.op)
    reduction = _REDUCTIONS.get(node.op)
    if node.op not in AGGREGATIONS:
        raise QueryError("bad_data", f"aggregation {node.op!r} is not supported")
    frame = evaluation.frame(node.expr)
    names = frozenset(node.labels)
    if node.op == "count_values":
        return _count_values(evaluation, node, frame, names)
    groups = _grouped(frame, names, without=node.without)
    if operator is not None:
        return operator(evaluation, node, frame, groups)
    assert reduction is not None
    if not len(frame.labels):
        return empty(len(evaluation.steps))
    return Frame(groups.keys, reduction(frame, groups), _counts(frame, groups) > 0).occupied()


def _grouped(frame: Frame, names: frozenset[str], *, without: bool) -> Groups:
    return Groups(frame.sets.grouping("without" if without else "by", names))


def _filled(frame: Frame, filler: float) -> FloatArray:
    return frame.values if frame.present.all() else np.where(frame.present, frame.values, filler)


def _counts(frame: Frame, groups: Groups) -> IntArray:
    return groups.reduce(np.add, frame.present.astype(np.int64)).astype(np.int64)


def _sum(frame: Frame, groups: Groups) -> FloatArray:
    return sum_groups(groups, _filled(frame, 0.0))


def _avg(frame: Frame, groups: Groups) -> FloatArray:
    counts = _counts(frame, groups)
    total = _sum(frame, groups)
    mean: FloatArray = total / counts
    overflown = ~np.isfinite(total)
    if overflown.any():
        # The sum may overflow where the mean does not.
        shares = _filled(frame, 0.0) / counts[groups.of_series]
        mean = np.where(overflown, groups.reduce(np.add, np.where(frame.present, shares, 0.0)), mean)
    return mean


def _min(frame: Frame, groups: Groups) -> FloatArray:
    # A NaN is the result only if all values are NaN. That is why fmin and fmax are used.
    return groups.reduce(np.fmin, _filled(frame, np.nan))


def _max(frame: Frame, groups: Groups) -> FloatArray:
    return groups.reduce(np.fmax, _filled(frame, np.nan))


def _count(frame: Frame, groups: Groups) -> FloatArray:
    return _counts(frame, groups).astype(np.float64)


def _group(frame: Frame, groups: Groups) -> FloatArray:
    return np.ones((len(groups.keys), frame.values.shape[1]))


def _stdvar(frame: Frame, groups: Groups) -> FloatArray:
    counts = _counts(frame, groups)
    # The least value is subtracted first. So equal values have a deviation of exactly 0, which users compare with:
    # `stddev(x) == 0`.
    shifted = np.where(frame.present, frame.values - _min(frame, groups)[groups.of_series], 0.0)
    mean = groups.reduce(np.add, shifted) / counts
    deviation = np.where(frame.present, shifted - mean[groups.of_series], 0.0)
    variance: FloatArray = groups.reduce(np.add, deviation * deviation) / counts
    return variance


def _stddev(frame: Frame, groups: Groups) -> FloatArray:
    return np.sqrt(_stdvar(frame, groups))


_REDUCTIONS: dict[str, Reduction] = {
    "sum": _sum,
    "avg": _avg,
    "min": _min,
    "max": _max,
    "count": _count,
    "group": _group,
    "stddev": _stddev,
    "stdvar": _stdvar,
}


def _quantile(evaluation: Evaluation, node: Aggregate, frame: Frame, groups: Groups) -> Frame:
    assert node.param is not None
    wanted = evaluation.scalars(node.param)
    evaluation.annotations.quantiles(_worst(wanted), node.param)
    if not len(frame.labels):
        return empty(len(wanted))
    rows = [quantile_rows(wanted, frame.values[m].T, frame.present[m].T) for m in groups.members()]
    return Frame(groups.keys, np.stack(rows), _counts(frame, groups) > 0).occupied()


def _worst(wanted: FloatArray) -> FloatArray:
    """Return the quantiles to annotate: NaN if there is one, else the greatest above 1, and the least below 0.

    `wanted` is [steps], the result has at most two elements.
    """
    greatest, least = np.max(wanted), np.min(wanted)
    return np.array([greatest, least])[[not greatest <= 1, bool(least < 0)]]


def _ranked(descending: bool) -> Callable[[Evaluation, Aggregate, Frame, Groups], Frame]:
    """Return topk or bottomk. Series keep their labels, and each step has its own k."""

    def call(evaluation: Evaluation, node: Aggregate, frame: Frame, groups: Groups) -> Frame:
        assert node.param is not None
        wanted = evaluation.scalars(node.param)
        if (wanted < 1).all():
            return empty(len(wanted))
        limit = _whole(wanted, node.op)
        kept: BoolArray = np.zeros(frame.present.shape, dtype=np.bool_)
        for members in groups.members():
            kept[members] = _ranks(frame.values[members], frame.present[members], descending) < limit
        kept &= frame.present
        chosen = frame.with_values(frame.values, kept)
        if len(limit) == 1 and len(frame.labels):
            ranks = np.zeros(len(frame.labels), dtype=np.int64)
            for members in groups.members():
                ranks[members] = _ranks(frame.values[members], kept[members], descending)[:, 0]
            chosen = chosen.take(np.lexsort((ranks, groups.of_series)))
            chosen = Frame(chosen.labels, chosen.values, chosen.present, ordered=True)
        return chosen.occupied()

    return call


def _whole(limit: FloatArray, op: str) -> IntArray:
    """Return k as int64 of shape [steps]. Raises QueryError(execution) when k is NaN or overflows int64."""
    if np.isnan(limit).any() or (np.abs(limit) >= 2.0**63).any():
        raise QueryError("execution", f"the parameter of {op} is NaN, or overflows int64")
    whole: IntArray = limit.astype(np.int64)
    return whole


def _ranks(values: FloatArray, present: BoolArray, descending: bool) -> IntArray:
    """Return each element's rank in its column: int64 in the shape of `values`, [series, steps].

    Present elements come before absent ones, numbers before NaN, and equal values in input order.
    """
    keys = np.where(present, -values if descending else values, 0.0)
    order = np.lexsort((np.where(np.isnan(keys), 0.0, keys), np.isnan(keys), ~present), axis=0)
    ranks: IntArray = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(order))[:, None], axis=0)
    return ranks


def _count_values(evaluation: Evaluation, node: Aggregate, frame: Frame, names: frozenset[str]) -> Frame:
    """Evaluate count_values. Prometheus sets the label first and then groups, so a series' own label is replaced."""
    assert node.param is not None
    name = evaluation.text(node.param)
    if not name or readable(name) != name:
        raise QueryError("execution", f'invalid label name "{readable(name)}"')
    if node.without and name in names | {METRIC_NAME}:
        groups = _grouped(frame, names, without=True)
        counts = _count(frame, groups)
        return Frame(groups.keys, counts, counts > 0).occupied()
    groups = _grouped(frame, names | {name} if node.without else names - {name}, without=node.without)
    steps = len(evaluation.steps)
    series, step = np.nonzero(frame.present)
    values = frame.values[series, step]
    # Values are equal if their texts are: -0 and 0 differ, all NaN are equal.
    patterns, of_pattern = np.unique(np.where(np.isnan(values), np.nan, values).view(np.int64), return_inverse=True)
    pairs = groups.of_series[series] * len(patterns) + of_pattern.reshape(-1)
    distinct, row = np.unique(pairs, return_inverse=True)
    evaluation.budget.require(len(distinct) * steps)
    texts = [format_value(value, exponents=False) for value in patterns.view(np.float64).tolist()]
    of_group, of_text = np.divmod(distinct, max(1, len(patterns)))
    # No group's labels have the name, so its position is the same for each value.
    places = [bisect_left(key, (name,)) for key in groups.keys]
    labels = [
        (*key[: places[group]], (name, texts[text]), *key[places[group] :])
        for group, text in zip(of_group.tolist(), of_text.tolist(), strict=True)
        for key in (groups.keys[group],)
    ]
    places_of_ones = row.reshape(-1) * steps + step
    ones = np.ones(len(step))
    flat: FloatArray = np.bincount(places_of_ones, ones, len(distinct) * steps).astype(np.float64, copy=False)
    per_text = flat.reshape(-1, steps)
    return Frame(labels, per_text, per_text > 0)


_PARAMETRIC: dict[str, Callable[[Evaluation, Aggregate, Frame, Groups], Frame]] = {
    "quantile": _quantile,
    "topk": _ranked(True),
    "bottomk": _ranked(False),
}

AGGREGATIONS = (*_REDUCTIONS, *_PARAMETRIC, "count_values")
"""All aggregation operators."""
