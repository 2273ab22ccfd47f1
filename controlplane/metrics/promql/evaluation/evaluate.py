"""The evaluator: a syntax tree and a set of steps to values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.samples import FloatArray
from controlplane.errors import QueryError
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.context import Ranges
from controlplane.metrics.promql.evaluation.aggregate import aggregate
from controlplane.metrics.promql.evaluation.binary import binary
from controlplane.metrics.promql.frame import Frame, Scalars, Text, Value
from controlplane.metrics.promql.functions.registry import function_named
from controlplane.metrics.promql.syntax.tree import (
    Aggregate,
    Binary,
    Call,
    Negate,
    Node,
    Number,
    Range,
    Selector,
    String,
    Subquery,
)
from controlplane.metrics.series.budget import Budget, EngineLimits
from controlplane.metrics.series.samples import Axis, SampleSet, by_pattern
from controlplane.metrics.series.store_reader import StoreReader
from promql.nodes import At


@dataclass(frozen=True)
class Query:
    """The state that all nodes of one query share. `start_ms` and `end_ms` are those of `@ start()` and `@ end()`."""

    store: StoreReader
    limits: EngineLimits
    budget: Budget
    annotations: Annotations
    start_ms: int
    end_ms: int


class Evaluator:
    """Evaluates nodes at fixed steps. Implements context.Evaluation. A subquery has an evaluator of its own."""

    def __init__(self, query: Query, steps: IntArray) -> None:
        self.steps = steps
        self.budget = query.budget
        self.annotations = query.annotations
        self._query = query

    def value(self, node: Node) -> Value:
        """Evaluate any node except a range vector. Raises QueryError when that fails."""
        self.budget.check()
        match node:
            case Number(value=number):
                return Scalars(np.full(len(self.steps), number))
            case String(value=text):
                return Text(text)
            case Selector():
                return self._selected(node)[0]
            case Call():
                result = function_named(node.name)(self, node.args)
            case Aggregate():
                result = aggregate(self, node)
            case Binary():
                result = binary(self, node)
            case Negate():
                result = self._negated(node)
            case _:
                raise QueryError("bad_data", "a range vector is only allowed as the argument of a function")
        if isinstance(result, Frame):
            self.budget.charge(result.values.size)
        return result

    def frame(self, node: Node) -> Frame:
        """Evaluate a node that is an instant vector. Raises QueryError when it is not, or when that fails."""
        value = self.value(node)
        if not isinstance(value, Frame):
            raise QueryError("bad_data", f"expected an instant vector, got a {node.kind}")
        return value

    def scalars(self, node: Node) -> FloatArray:
        """Evaluate a node that is a scalar: float64 of shape [steps]. Raises QueryError when it is not."""
        value = self.value(node)
        if not isinstance(value, Scalars):
            raise QueryError("bad_data", f"expected a scalar, got a {node.kind}")
        return value.values

    def text(self, node: Node) -> str:
        """Evaluate a node that is a string. Raises QueryError when it is not."""
        value = self.value(node)
        if not isinstance(value, Text):
            raise QueryError("bad_data", f"expected a string, got a {node.kind}")
        return value.value

    def ranges(self, node: Node) -> Ranges:
        """Evaluate a node that is a range vector. The windows have no staleness markers.

        Raises QueryError when the node is not a range vector, or when that fails.
        """
        if isinstance(node, Range):
            until = self._times(node.selector.at, node.selector.offset_ms)
            after = until - node.range_ms
            samples = self._load(node.selector, int(after.min()), int(until.max()))
        elif isinstance(node, Subquery):
            until = self._times(node.at, node.offset_ms)
            after = until - node.range_ms
            samples = self._subquery(node, int(after.min()), int(until.max()))
        else:
            raise QueryError("bad_data", f"expected a range vector, got a {node.kind}")
        self.budget.charge(len(samples.labels) * len(self.steps))
        return Ranges(samples.windows(after, until, self.budget.check), after, until, node.range_ms / 1000)

    def sample_times(self, node: Node) -> Frame | None:
        """Return the timestamps (seconds) of a plain selector's samples, or None for any other node."""
        if not isinstance(node, Selector):
            return None
        frame, times = self._selected(node)
        return frame.with_values(times / 1000)

    def _times(self, at: At, offset_ms: int) -> IntArray:
        """Return the steps, moved by a selector's modifiers: int64 of shape [steps], unix milliseconds."""
        if at is None:
            return self.steps - offset_ms
        fixed = {"start": self._query.start_ms, "end": self._query.end_ms}.get(at, at) if isinstance(at, str) else at
        return np.full(len(self.steps), int(fixed) - offset_ms, dtype=np.int64)

    def _load(self, selector: Selector, after_ms: int, until_ms: int) -> SampleSet:
        return self._query.store.read(selector.matchers, after_ms, until_ms, self.budget)

    def _selected(self, node: Selector) -> tuple[Frame, IntArray]:
        """Return the newest samples within the lookback, and their times [series, steps] in unix milliseconds."""
        until = self._times(node.at, node.offset_ms)
        after = until - int(self._query.limits.lookback_s * 1000)
        labels, newest = self._query.store.newest(node.matchers, after, until, self.budget)
        frame, rows = Frame(labels, newest.values, newest.present), np.flatnonzero(newest.present.any(axis=1))
        if len(rows) == len(labels):
            return frame, newest.times
        return frame.take(rows), newest.times[rows]

    def _subquery(self, node: Subquery, after_ms: int, until_ms: int) -> SampleSet:
        step = node.step_ms or max(1, int(self._query.limits.subquery_step_s * 1000))
        # Steps are multiples of the subquery's step. So results do not depend on the query's start.
        first = after_ms // step * step + step
        self.budget.charge(max(0, (until_ms - first) // step + 1))
        steps = np.arange(first, until_ms + 1, step, dtype=np.int64)
        if not len(steps):
            return SampleSet.of([], [])
        inner = Evaluator(self._query, steps).value(node.expr)
        frame = (
            Frame([()], inner.values[None, :], np.ones((1, len(steps)), np.bool_))
            if isinstance(inner, Scalars)
            else inner
        )
        if not isinstance(frame, Frame):
            raise QueryError("bad_data", f"a subquery is only allowed on an instant vector, not on a {node.expr.kind}")
        axes = [
            Axis(rows, steps[keep], np.ascontiguousarray(frame.values[np.ix_(rows, keep)]))
            for rows, keep in by_pattern(frame.present)
        ]
        return SampleSet.of(frame.labels, axes)

    def _negated(self, node: Negate) -> Value:
        value = self.value(node.expr)
        if isinstance(value, Scalars):
            return Scalars(-value.values)
        if isinstance(value, Frame):
            return value.with_values(-value.values).without_name()
        raise QueryError("bad_data", "unary minus is only allowed on a scalar or an instant vector")
