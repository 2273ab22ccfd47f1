"""Values that evaluation passes between nodes: those of many series at many steps at once.

A missing value is neither zero nor NaN: `present` says where a series has a value.
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
    """A scalar at every step. `values` is float64 of shape [steps]."""

    values: FloatArray


@dataclass(frozen=True)
class Text:
    """A string."""

    value: str


@dataclass(frozen=True)
class Frame:
    """An instant vector at every step. Elements of `values` where `present` is false have no meaning."""

    labels: Sequence[Labels]
    """[series] labels, with `__name__` unless the name was dropped."""
    values: FloatArray
    """[series, steps]."""
    present: BoolArray
    """[series, steps]."""
    ordered: bool = False
    """Whether the order of the series is part of the result (sort, topk)."""

    def with_values(self, values: FloatArray, present: BoolArray | None = None) -> Frame:
        """Return a frame of the same series with other values, and another `present` if given: [series, steps]."""
        return Frame(self.labels, values, self.present if present is None else present)

    @property
    def sets(self) -> LabelSets:
        """The labels as LabelSets, which cache groupings and orders."""
        return LabelSets.of(self.labels)

    def without_name(self) -> Frame:
        """Return the frame without metric names. Series with the same labels are joined.

        Raises QueryError(execution) when two of them have a value at the same step.
        """
        return self.relabelled(self.sets.nameless())

    def nameless(self) -> Frame:
        """Return the frame without metric names, without joining series.

        This is Prometheus's rule for functions of range vectors. `without_name` is its rule for functions of instant
        vectors. Raises QueryError(execution) when two series have the same labels, at any steps.
        """
        sets = self.sets.nameless()
        if len(sets.same().keys) < len(sets):
            raise QueryError("execution", SAME_LABELSET)
        return replace(self, labels=sets)

    def relabelled(self, labels: Sequence[Labels]) -> Frame:
        """Return the frame with other labels, [series]. Series with the same labels are joined.

        Raises QueryError(execution) when two of them have a value at the same step.
        """
        return join(replace(self, labels=labels))

    def take(self, rows: IntArray | Sequence[int]) -> Frame:
        """Return a frame of the series at positions `rows` (int64 of shape [n]), in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return Frame(self.sets.take(index), self.values[index], self.present[index])

    def occupied(self) -> Frame:
        """Return the frame without series that have no value at any step."""
        some = self.present.any(axis=1)
        if some.all():
            return self
        return replace(self.take(np.flatnonzero(some)), ordered=self.ordered)


Value = Scalars | Text | Frame


def empty(steps: int) -> Frame:
    """Return a frame without series."""
    return Frame([], np.zeros((0, steps)), np.zeros((0, steps), dtype=np.bool_))


def single(values: FloatArray, present: BoolArray | None = None, labels: Labels = ()) -> Frame:
    """Return a frame of one series. `values` and `present` are [steps]."""
    mask = np.ones(len(values), dtype=np.bool_) if present is None else present
    return Frame([labels], values[None, :], mask[None, :])


def join(frame: Frame) -> Frame:
    """Return a frame in which series with equal labels are one series.

    Raises QueryError(execution) when two of them have a value at the same step.
    """
    same = frame.sets.same()
    if len(same.keys) == len(frame.labels):
        return frame
    groups = Groups(same)
    counts = groups.reduce(np.add, frame.present.astype(np.int64))
    if (counts > 1).any():
        raise QueryError("execution", SAME_LABELSET)
    # At most one value of a group is present. The sum is that value: -0.0 is what can be added to every float, also to
    # -0.0, without a change.
    values = groups.reduce(np.add, np.where(frame.present, frame.values, -0.0))
    return Frame(groups.keys, values, counts > 0, frame.ordered)


@dataclass(frozen=True)
class Groups:
    """Series in groups. The grouping is cached with the selection's labels, for all queries."""

    grouping: Grouping

    @property
    def keys(self) -> LabelSets:
        """[groups] labels of each group, in order of first appearance."""
        return self.grouping.keys

    @property
    def of_series(self) -> IntArray:
        """[series] number of each series' group."""
        return self.grouping.of_series

    def members(self) -> Iterable[IntArray]:
        """Return the positions of each group's series in input order: int64 of shape [members], one array a group."""
        return np.split(self.grouping.order, self.grouping.starts[1:]) if len(self.keys) else []

    def reduce(self, ufunc: np.ufunc, values: FloatArray | IntArray) -> FloatArray:
        """Reduce the series of each group with `ufunc`: `[series, steps]` to `[groups, steps]`."""
        if not len(self.keys):
            return np.zeros((0, values.shape[1]))
        ordered = values if self.grouping.in_order else values[self.grouping.order]
        result: FloatArray = ufunc.reduceat(ordered, self.grouping.starts, axis=0)
        return result
