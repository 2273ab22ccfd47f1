"""What evaluation passes between nodes: values of many series at many steps at once.

Absent is not zero, and not NaN either: `present` says where a series has a value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.errors import QueryError
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.index import METRIC_NAME
from controlplane.metrics.label_sets import LabelSets

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

    def without_name(self) -> Frame:
        """Return the frame with metric names dropped. Raises QueryError when two series fall together at a step."""
        return self.relabelled(_nameless(self.labels))

    def nameless(self) -> Frame:
        """Return the frame with metric names dropped, each series once.

        Raises QueryError(execution) when two series then have the same labels, at whatever steps: what Prometheus does
        for functions of range vectors, where `without_name` is its rule for those of instant vectors.
        """
        labels = _nameless(self.labels)
        if not labels.unique:
            raise QueryError("execution", SAME_LABELSET)
        return replace(self, labels=labels)

    def relabelled(self, labels: Sequence[Labels]) -> Frame:
        """Return the frame under other labels; series that become one are joined.

        Raises QueryError(execution) when two of them have a value at the same step.
        """
        return join(replace(self, labels=labels))

    def take(self, rows: IntArray | Sequence[int]) -> Frame:
        """Return some of the series."""
        index = np.asarray(rows, dtype=np.int64)
        return Frame(LabelSets.of(self.labels).take(index), self.values[index], self.present[index])

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
    sets = LabelSets.of(frame.labels)
    if sets.unique:
        return frame if sets is frame.labels else replace(frame, labels=sets)
    groups = Groups.of(sets, lambda labels: labels, "whole")
    counts = groups.reduce(np.add, frame.present.astype(np.int64))
    if (counts > 1).any():
        raise QueryError("execution", SAME_LABELSET)
    values = groups.reduce(np.add, np.where(frame.present, frame.values, 0.0))
    # Adding zeros would turn -0 into 0 and is exact otherwise; the one present value is what remains.
    return Frame(groups.keys, values, counts > 0, frame.ordered)


def _nameless(labels: Sequence[Labels]) -> LabelSets:
    return LabelSets.of(labels).mapped("nameless", drop_name)


@dataclass(frozen=True)
class Groups:
    """Series sorted into groups, found once a query rather than once a step."""

    keys: LabelSets
    """[groups] in order of first appearance."""
    of_series: IntArray
    """[series] each one's group."""
    order: IntArray
    """[series] positions, group after group, in input order within a group."""
    starts: IntArray
    """[groups] where a group starts in `order`."""

    @classmethod
    def of(cls, labels: Sequence[Labels], key: Callable[[Labels], Labels], name: Hashable) -> Groups:
        """Group series by a function of their labels; `name` says which, so that the groups are found but once."""
        return LabelSets.of(labels).derive(("groups", name), lambda sets: cls._found(sets, key))

    @classmethod
    def _found(cls, labels: LabelSets, key: Callable[[Labels], Labels]) -> Groups:
        numbers: dict[Labels, int] = {}
        of_series = np.array([numbers.setdefault(key(one), len(numbers)) for one in labels], dtype=np.int64)
        order = np.argsort(of_series, kind="stable")
        starts = np.searchsorted(of_series[order], np.arange(len(numbers)))
        return cls(LabelSets(tuple(numbers)), of_series, order, starts)

    @cached_property
    def in_order(self) -> bool:
        """Whether series of a group stand side by side already."""
        return bool((self.order[1:] > self.order[:-1]).all())

    def members(self) -> Iterable[IntArray]:
        """Yield each group's positions, in input order."""
        return np.split(self.order, self.starts[1:]) if len(self.keys) else []

    def reduce(self, ufunc: np.ufunc, values: FloatArray | IntArray) -> FloatArray:
        """Reduce `[series, steps]` to `[groups, steps]`."""
        if not len(self.keys):
            return np.zeros((0, values.shape[1]))
        ordered = values if self.in_order else values[self.order]
        result: FloatArray = ufunc.reduceat(ordered, self.starts, axis=0)
        return result


def drop_name(labels: Labels) -> Labels:
    """Return labels without `__name__`."""
    return tuple(pair for pair in labels if pair[0] != METRIC_NAME)


def keep_only(labels: Labels, names: frozenset[str]) -> Labels:
    """Return those labels whose names are given."""
    return tuple(pair for pair in labels if pair[0] in names)


def drop_names(labels: Labels, names: frozenset[str]) -> Labels:
    """Return the labels less `__name__` and less those whose names are given."""
    return tuple(pair for pair in labels if pair[0] not in names and pair[0] != METRIC_NAME)


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """Return labels with one set, or removed when the value is empty."""
    rest = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*rest, (name, value)])) if value else tuple(rest)


def label_value(labels: Labels, name: str) -> str:
    """Return a label's value, empty when absent."""
    return next((value for key, value in labels if key == name), "")
