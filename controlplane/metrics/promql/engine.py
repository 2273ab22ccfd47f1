"""The PromQL engine. It is synchronous and does no I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from alerts.interfaces import VectorSample
from controlplane.errors import QueryError
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.evaluation.evaluate import Evaluator, Query
from controlplane.metrics.promql.frame import Frame, Scalars, Text, Value
from controlplane.metrics.promql.syntax.tree import Node, Range, Subquery, parse
from controlplane.metrics.promql.values import Matrix, MatrixSeries, QueryValue, Scalar, StringValue, Vector
from controlplane.metrics.series.budget import Budget, EngineLimits
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.label_sets import label_value
from controlplane.metrics.series.store_reader import StoreReader
from promql.durations import INSTANT, QueryTimes
from promql.strings import readable

Answer = TypeVar("Answer")

CACHED_EXPRESSIONS = 1024
"""Parsed expressions in the cache. Chosen: several times the rules and panels of an installation."""

MAX_TIME_S = 1e11
"""Latest time of a query, in unix seconds: some 3,000 years. Chosen: milliseconds and ranges cannot overflow int64."""


_OF_THE_QUERY = re.compile(r"\b(?:step|range)\s*\(", re.IGNORECASE)


def _wanted() -> bool:
    return False


class PromqlEngine:
    """Evaluates PromQL over a series store. May be used from several threads at once."""

    def __init__(
        self,
        store: StoreReader,
        limits: EngineLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.limits = limits or EngineLimits()
        self._monotonic = monotonic
        self._parse = lru_cache(maxsize=CACHED_EXPRESSIONS)(parse)

    def instant(
        self,
        expr: str,
        at: float,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        unwanted: Callable[[], bool] = _wanted,
        annotations: Annotations | None = None,
        *,
        node: Node | None = None,
    ) -> QueryValue:
        """Evaluate an expression at unix second `at`. `node` is its syntax tree, if the caller has it.

        A range vector yields its samples as a Matrix. `timeout_s` and `lookback_s` replace the engine's limits for
        this query. The query ends once `unwanted` returns true: nobody waits for the answer. Warnings and infos are
        added to `annotations`. Raises QueryError when the query fails.
        """
        at_ms = _milliseconds(at, "time")
        node = node or self._parse(expr, INSTANT)
        steps = np.array([at_ms], dtype=np.int64)
        budget = self._budget(timeout_s, unwanted)
        evaluator = Evaluator(self._query(expr, node, (at_ms, at_ms), budget, lookback_s, annotations), steps)
        if isinstance(node, Range | Subquery):
            return _guarded(lambda: _window(evaluator, node))
        return _instant_value(self._evaluate(evaluator, node), at_ms / 1000)

    def instants(self, expr: str, times_ms: IntArray) -> list[Scalar | Vector]:
        """Evaluate an expression at each of `times_ms` as `instant` does. `times_ms` is [times], not empty, ascending.

        It costs little more than one evaluation. Samples are in the order of their labels. `@ start()` and `@ end()`
        are the first and the last of the times. Raises QueryError when a query fails at one of them, and for a result
        that is neither a scalar nor an instant vector.
        """
        node = self._parse(expr, INSTANT)
        if node.kind not in ("scalar", "vector"):
            raise QueryError("bad_data", f"a {_SHOWN_KIND[node.kind]} is not evaluated at several times")
        first_ms, last_ms = (_milliseconds(ms / 1000, "time") for ms in (int(times_ms[0]), int(times_ms[-1])))
        query = self._query(expr, node, (first_ms, last_ms), self._budget(None, _wanted), None, None)
        return _instant_values(self._evaluate(Evaluator(query, times_ms), node), times_ms)

    def range(
        self,
        expr: str,
        start: float,
        end: float,
        step: float,
        timeout_s: float | None = None,
        lookback_s: float | None = None,
        unwanted: Callable[[], bool] = _wanted,
        annotations: Annotations | None = None,
    ) -> Matrix:
        """Evaluate an expression from `start` to `end` (unix seconds, both included) every `step` seconds.

        For the other parameters see `instant`. Raises QueryError when the query fails.
        """
        start_ms, end_ms = _milliseconds(start, "start"), _milliseconds(end, "end")
        step_ms = _milliseconds(step, "step")
        if end_ms < start_ms:
            raise QueryError("bad_data", "end timestamp must not be before start time")
        if step_ms <= 0:
            raise QueryError(
                "bad_data", "zero or negative query resolution step widths are not accepted. Try a positive"
            )
        if (end_ms - start_ms) // step_ms > self.limits.max_points:
            raise QueryError(
                "bad_data",
                f"exceeded maximum resolution of {self.limits.max_points:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)",
            )
        # Few expressions use step() and range(). Every other expression is cached once, for all times.
        times = QueryTimes(step_ms / 1000, (end_ms - start_ms) / 1000) if _OF_THE_QUERY.search(expr) else INSTANT
        node = self._parse(expr, times)
        if node.kind not in ("scalar", "vector"):
            raise QueryError(
                "bad_data",
                f'invalid expression type "{_SHOWN_KIND[node.kind]}" for range query, must be Scalar or instant Vector',
            )
        steps = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        budget = self._budget(timeout_s, unwanted)
        query = self._query(expr, node, (start_ms, end_ms), budget, lookback_s, annotations)
        value = self._evaluate(Evaluator(query, steps), node)
        return _matrix(value, steps)

    def _budget(self, timeout_s: float | None, unwanted: Callable[[], bool]) -> Budget:
        return Budget(self.limits, self._monotonic, timeout_s, unwanted)

    def _query(
        self,
        expr: str,
        node: Node,
        between_ms: tuple[int, int],
        budget: Budget,
        lookback_s: float | None,
        annotations: Annotations | None,
    ) -> Query:
        limits = self.limits if lookback_s is None else replace(self.limits, lookback_s=lookback_s)
        annotations = annotations or Annotations()
        annotations.concern(expr, node)
        return Query(self.store, limits, budget, annotations, *between_ms)

    def _evaluate(self, evaluator: Evaluator, node: Node) -> Value:
        return _guarded(lambda: evaluator.value(node))


_SHOWN_KIND = {"matrix": "range vector", "string": "string"}


def _guarded(evaluate: Callable[[], Answer]) -> Answer:
    """Run an evaluation. Turn too deep a stack and too little memory into QueryError."""
    try:
        # NaN and Inf are normal values of PromQL. This silences numpy's warnings in the whole evaluation.
        with np.errstate(all="ignore"):
            return evaluate()
    except RecursionError as error:
        raise QueryError("bad_data", "the expression is nested too deeply") from error
    except MemoryError as error:
        raise QueryError("execution", "the query needs more memory than there is") from error


def _milliseconds(seconds: float, what: str) -> int:
    if not -MAX_TIME_S <= seconds <= MAX_TIME_S:
        raise QueryError("bad_data", f"invalid parameter {what!r}: {seconds} is out of range")
    return round(seconds * 1000)


def _instant_value(value: Value, at: float) -> QueryValue:
    if isinstance(value, Scalars):
        return Scalar(at, float(value.values[0]))
    if isinstance(value, Text):
        return StringValue(at, readable(value.value))
    frame = value if value.ordered else _by_labels(value)
    rows = np.flatnonzero(frame.present[:, 0])
    numbers = frame.values[:, 0].tolist()
    return Vector(at, [VectorSample(frame.labels[row], numbers[row]) for row in rows.tolist()])


def _instant_values(value: Value, times_ms: IntArray) -> list[Scalar | Vector]:
    """Return the value at each step, as `_instant_value` does for one."""
    times = (times_ms / 1000).tolist()
    if isinstance(value, Scalars):
        return [Scalar(at, number) for at, number in zip(times, value.values.tolist(), strict=True)]
    assert isinstance(value, Frame)
    frame = _by_labels(value)
    steps, rows = np.nonzero(frame.present.T)
    numbers = frame.values[rows, steps].tolist()
    samples = [VectorSample(frame.labels[row], number) for row, number in zip(rows.tolist(), numbers, strict=True)]
    bounds = np.searchsorted(steps, np.arange(len(times) + 1)).tolist()
    return [Vector(at, samples[bounds[n] : bounds[n + 1]]) for n, at in enumerate(times)]


def _matrix(value: Value, steps: IntArray) -> Matrix:
    times = steps / 1000
    if isinstance(value, Scalars):
        return Matrix([MatrixSeries((), times, value.values)])
    assert isinstance(value, Frame)
    # Only the list of series is sorted, so the values are not copied.
    order = value.sets.order().tolist()
    labels = value.labels
    if value.present.all():
        return Matrix([MatrixSeries(labels[row], times, value.values[row]) for row in order])
    rows, at = np.nonzero(value.present)
    ends = np.cumsum(value.present.sum(axis=1)).tolist()
    found, when = value.values[rows, at], times[at]
    slices = ((labels[row], slice(ends[row - 1] if row else 0, ends[row])) for row in order)
    return Matrix([MatrixSeries(one, when[its], found[its]) for one, its in slices if its.stop > its.start])


def _by_labels(frame: Frame) -> Frame:
    """Return the frame with its series sorted by labels, name first."""
    return frame.take(frame.sets.order())


def _window(evaluator: Evaluator, node: Range | Subquery) -> Matrix:
    windows = evaluator.ranges(node).windows
    samples = windows.samples
    series = []
    for row, labels in enumerate(samples.labels):
        start, end = int(windows.start[row, 0]), int(windows.end[row, 0])
        if end > start:
            shift = int(samples.axis_start[samples.axis[row]] - samples.base[row])
            series.append(
                MatrixSeries(labels, samples.times[start + shift : end + shift] / 1000, samples.values[start:end])
            )
    return Matrix(sorted(series, key=lambda s: (label_value(s.labels, METRIC_NAME), s.labels)))
