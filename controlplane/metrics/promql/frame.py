"""What evaluation passes between nodes: values of many series at many steps at once.

Absent is not zero, and not NaN either: `present` says where a series has a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.errors import QueryError
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.series.label_sets import Grouping, LabelSets

SAME_LABELSET = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True)
class Scalars:
    """A scalar at every step: `values` is [steps]."""

    values: FloatArray


@dataclass(frozen=True)
class Text:
    """A string."""

    value: str


@dataclass(frozen=True)
class Frame:
    """An instant vector at every step. `values` at places that are not `present` mean nothing."""

    labels: Sequence[Labels]
    """[series], with `__name__` where the name is kept."""
    values: FloatArray
    """[series, steps]."""
    present: BoolArray
    """[series, steps]."""
    ordered: bool = False
    """Whether the order of the series is part of the result (sort, topk)."""

    def with_values(self, values: FloatArray, present: BoolArray | None = None) -> Frame:
        """Return a frame of the same series with other values."""
        return Frame(self.labels, values, self.present if present is None else present)

    @property
    def sets(self) -> LabelSets:
        """The labels, with what can be derived from them."""
        return LabelSets.of(self.labels)

    def without_name(self) -> Frame:
        """Return the frame with metric names dropped. Raises QueryError when two series fall together at a step."""
        return self.relabelled(self.sets.nameless())

    def nameless(self) -> Frame:
        """Return the frame with metric names dropped, each series once.

        Raises QueryError(execution) when two series then have the same labels, at whatever steps: what Prometheus does
        for functions of range vectors, where `without_name` is its rule for those of instant vectors.
        """
        sets = self.sets.nameless()
        if len(sets.same().keys) < len(sets):
            raise QueryError("execution", SAME_LABELSET)
        return replace(self, labels=sets)

    def relabelled(self, labels: Sequence[Labels]) -> Frame:
        """Return the frame under other labels; series that become one are joined.

        Raises QueryError(execution) when two of them have a value at the same step.
        """
        return join(replace(self, labels=labels))

    def take(self, rows: IntArray | Sequence[int]) -> Frame:
        """Return some of the series."""
        index = np.asarray(rows, dtype=np.int64)
        return Frame(self.sets.take(index), self.values[index], self.present[index])

    def occupied(self) -> Frame:
        """Return the frame without the series that have no value at any step."""
        some = self.present.any(axis=1)
        if some.all():
            return self
        return replace(self.take(np.flatnonzero(some)), ordered=self.ordered)


Value = Scalars | Text | Frame


def empty(steps: int) -> Frame:
    """Return a frame without series."""
    return Frame([], np.zeros((0, steps)), np.zeros((0, steps), dtype=np.bool_))


def single(values: FloatArray, present: BoolArray | None = None, labels: Labels = ()) -> Frame:
    """Return a frame of one series, given `[steps]`."""
    mask = np.ones(len(values), dtype=np.bool_) if present is None else present
    return Frame([labels], values[None, :], mask[None, :])


def join(frame: Frame) -> Frame:
    """Join series with equal labels. Raises QueryError(execution) when two have a value at the same step."""
    same = frame.sets.same()
    if len(same.keys) == len(frame.labels):
        return frame
    groups = Groups(same)
    counts = groups.reduce(np.add, frame.present.astype(np.int64))
    if (counts > 1).any():
        raise QueryError("execution", SAME_LABELSET)
    values = groups.reduce(np.add, np.where(frame.present, frame.values, 0.0))
    # Adding zeros would turn -0 into 0 and is exact otherwise; the one present value is what remains.
    return Frame(groups.keys, values, counts > 0, frame.ordered)


@dataclass(frozen=True)
class Groups:
    """Series sorted into groups, found once a selection rather than once a query."""

    grouping: Grouping

    @property
    def keys(self) -> LabelSets:
        """[groups] in order of first appearance."""
        return self.grouping.keys

    @property
    def of_series(self) -> IntArray:
        """[series] each one's group."""
        return self.grouping.of_series

    def members(self) -> Iterable[IntArray]:
        """Yield each group's positions, in input order."""
        return np.split(self.grouping.order, self.grouping.starts[1:]) if len(self.keys) else []

    def reduce(self, ufunc: np.ufunc, values: FloatArray | IntArray) -> FloatArray:
        """Reduce `[series, steps]` to `[groups, steps]`."""
        if not len(self.keys):
            return np.zeros((0, values.shape[1]))
        ordered = values if self.grouping.in_order else values[self.grouping.order]
        result: FloatArray = ufunc.reduceat(ordered, self.grouping.starts, axis=0)
        return result
