"""Labels of many series, with a cache of everything that queries derive from them.

A selection's labels are the same objects in every query until series come or go. Therefore a LabelTable keeps their
groupings, the labels without names, bucket bounds and the order of output. A query uses some rows of a table
(LabelSets) and derives the rest with numpy, without a Python loop over series.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import numpy as np

from collectors.samples import FloatArray, Labels
from controlplane.metrics.arrays import IntArray
from controlplane.metrics.series.index import METRIC_NAME

Keep = Literal["by", "without", "except"]
"""Labels that make a group. `by`: the named labels. `without`: all labels except the named ones and the metric name.
`except`: all labels except the named ones."""

MAX_DERIVED = 6
"""Maximum number of label sets derived from a table, as a multiple of its own label sets (some 100 B each). Chosen. The
bound is needed because queries choose the names to group by, and a derived table can be grouped again."""

NUMBERED = 1 / 16
"""Memory of a series' group number, as a fraction of the memory of a label set."""


def drop_name(labels: Labels) -> Labels:
    """Return labels without `__name__`."""
    return tuple(pair for pair in labels if pair[0] != METRIC_NAME)


def with_label(labels: Labels, name: str, value: str) -> Labels:
    """Return labels with one label set, or removed when `value` is empty."""
    rest = [pair for pair in labels if pair[0] != name]
    return tuple(sorted([*rest, (name, value)])) if value else tuple(rest)


def label_value(labels: Labels, name: str) -> str:
    """Return a label's value, or "" when the label is absent."""
    return next((value for key, value in labels if key == name), "")


def group_key(labels: Labels, keep: Keep, names: frozenset[str]) -> Labels:
    """Return the labels that make the group; see Keep."""
    if keep == "by":
        return tuple(pair for pair in labels if pair[0] in names)
    if keep == "without":
        return tuple(pair for pair in labels if pair[0] not in names and pair[0] != METRIC_NAME)
    return tuple(pair for pair in labels if pair[0] not in names)


@dataclass(frozen=True)
class Grouping:
    """Series in groups. Groups are numbered in order of first appearance."""

    keys: LabelSets
    """[groups] the labels that the members of each group share."""
    of_series: IntArray
    """[series] number of each series' group."""

    @cached_property
    def order(self) -> IntArray:
        """[series] positions, group after group, in input order within a group."""
        return np.argsort(self.of_series, kind="stable")

    @cached_property
    def starts(self) -> IntArray:
        """[groups] index in `order` at which each group starts."""
        return np.searchsorted(self.of_series[self.order], np.arange(len(self.keys)))

    @cached_property
    def in_order(self) -> bool:
        """Whether the series of each group are already adjacent."""
        return bool((self.order[1:] > self.order[:-1]).all())


class LabelTable:
    """Labels of series that are selected together. Each cached value is computed at most once a thread."""

    def __init__(self, labels: Sequence[Labels], root: LabelTable | None = None) -> None:
        """`root` is the first table in the chain of derivations that led to this one. None: this one."""
        self.labels = labels
        # Weak, because a root keeps the tables derived from it: a cycle would wait for the garbage collector.
        self._root = weakref.ref(root or self)
        self._derived = 0.0
        self._nameless: LabelTable | None = None
        self._groupings: dict[tuple[Keep, frozenset[str]], Grouping] = {}
        self._numbers: dict[str, FloatArray] = {}

    @property
    def nameless(self) -> LabelTable:
        """The table of the same series without metric names."""
        known = self._nameless
        if known is None:
            root = self._account(len(self.labels))
            known = self._nameless = LabelTable([drop_name(labels) for labels in self.labels], root)
        return known

    def _account(self, derived: float) -> LabelTable:
        """Count label sets that will be cached. Clear the root's cache first if they would exceed MAX_DERIVED.

        Return the root: a table whose root is gone is one itself.
        """
        root = self._root()
        if root is None:
            root, self._root = self, weakref.ref(self)
        if root._derived + derived > MAX_DERIVED * len(root.labels):
            root._derived, root._nameless, root._groupings = 0.0, None, {}
        root._derived += derived
        return root

    @cached_property
    def ranks(self) -> IntArray:
        """[series] position of each series in the order of output: by name, then by labels."""
        keys = list(zip((label_value(one, METRIC_NAME) for one in self.labels), self.nameless.labels, strict=True))
        ranks = np.empty(len(keys), dtype=np.int64)
        ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
        return ranks

    def grouping(self, keep: Keep, names: frozenset[str]) -> Grouping:
        """Return the grouping of all series of the table."""
        known = self._groupings.get((keep, names))
        if known is None:
            groups: dict[Labels, int] = {}
            of = [groups.setdefault(group_key(one, keep, names), len(groups)) for one in self.labels]
            root = self._account(len(groups) + len(of) * NUMBERED)
            known = Grouping(LabelSets(LabelTable(list(groups), root)), np.array(of, dtype=np.int64))
            self._groupings[keep, names] = known
        return known

    def numbers(self, name: str, parse: Callable[[str], float | None]) -> FloatArray:
        """Return a label's values as numbers, float64 of shape [series]. NaN where `parse` returns None.

        The result is cached by `name`, so `parse` must always be the same function for one name.
        """
        known = self._numbers.get(name)
        if known is None:
            parsed = [parse(label_value(labels, name)) for labels in self.labels]
            known = self._numbers[name] = np.array([np.nan if n is None else n for n in parsed], dtype=np.float64)
        return known


class LabelSets(Sequence[Labels]):
    """The labels of some rows of a table, in the rows' order."""

    def __init__(self, table: LabelTable, rows: IntArray | None = None) -> None:
        """`rows` is int64 of shape [n], row numbers of the table. None means all rows in order."""
        self._table = table
        self._rows = rows

    @classmethod
    def of(cls, labels: Sequence[Labels]) -> LabelSets:
        """Return labels as LabelSets. A plain sequence gets a new table, with a cache of its own."""
        return labels if isinstance(labels, LabelSets) else cls(LabelTable(labels))

    def __len__(self) -> int:
        return len(self._table.labels) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Labels: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Labels]: ...

    def __getitem__(self, index: int | slice) -> Labels | Sequence[Labels]:
        if self._rows is None:
            return self._table.labels[index]
        if isinstance(index, slice):
            return [self._table.labels[row] for row in self._rows[index].tolist()]
        return self._table.labels[int(self._rows[index])]

    def __iter__(self) -> Iterator[Labels]:
        if self._rows is None:
            return iter(self._table.labels)
        return map(self._table.labels.__getitem__, self._rows.tolist())

    def take(self, rows: IntArray) -> LabelSets:
        """Return the label sets at positions `rows`, int64 of shape [n]."""
        return LabelSets(self._table, rows if self._rows is None else self._rows[rows])

    def nameless(self) -> LabelSets:
        """Return the label sets without metric names. Some of them may then be equal."""
        return LabelSets(self._table.nameless, self._rows)

    def grouping(self, keep: Keep, names: frozenset[str]) -> Grouping:
        """Return the grouping of the series. Groups are numbered in order of first appearance in these rows."""
        whole = self._table.grouping(keep, names)
        if self._rows is None:
            return whole
        of_rows = whole.of_series[self._rows]
        first = np.full(len(whole.keys), len(of_rows), dtype=np.int64)
        # Assigned from the last row to the first, so the first appearance remains.
        first[of_rows[::-1]] = np.arange(len(of_rows))[::-1]
        seen = np.flatnonzero(first < len(of_rows))
        seen = seen[np.argsort(first[seen], kind="stable")]
        number = np.zeros(len(whole.keys), dtype=np.int64)
        number[seen] = np.arange(len(seen))
        return Grouping(whole.keys.take(seen), number[of_rows])

    def same(self) -> Grouping:
        """Return the grouping of series with equal labels."""
        return self.grouping("except", frozenset())

    def order(self) -> IntArray:
        """Return the positions of the series in the order of output: int64 of shape [series]."""
        ranks = self._table.ranks if self._rows is None else self._table.ranks[self._rows]
        return np.argsort(ranks, kind="stable")

    def numbers(self, name: str, parse: Callable[[str], float | None]) -> FloatArray:
        """Return a label's values as numbers, float64 of shape [series]; see LabelTable.numbers."""
        numbers = self._table.numbers(name, parse)
        return numbers if self._rows is None else numbers[self._rows]
