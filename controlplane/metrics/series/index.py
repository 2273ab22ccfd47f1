"""The label index: the ids of the series that have a label value.

The store's one writer changes it under the store's lock. Postings are lists of series ids in increasing order, because
new ids are always greater.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from collectors.samples import Labels
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.series.matchers import Matcher

METRIC_NAME = "__name__"

Postings = dict[str, dict[str, "array[int]"]]


class LabelIndex:
    """Postings by label name and value. All labels here include `__name__`."""

    def __init__(self) -> None:
        self._postings: Postings = {}
        self._all: array[int] = array("q")

    def add(self, series_id: int, labels: Labels) -> None:
        """Add one series. `series_id` must be greater than every id before."""
        self._all.append(series_id)
        for name, value in labels:
            self._postings.setdefault(name, {}).setdefault(value, array("q")).append(series_id)

    def remove(self, gone: Sequence[tuple[int, Labels]]) -> None:
        """Remove series, given as (id, labels). Only the postings of these labels are searched."""
        ids = np.sort(np.array([number for number, _ in gone], dtype=np.int64))
        for name, value in {pair for _, labels in gone for pair in labels}:
            left = _without(self._postings[name][value], ids)
            if len(left):
                self._postings[name][value] = left
            else:
                del self._postings[name][value]
                if not self._postings[name]:
                    del self._postings[name]
        self._all = _without(self._all, ids)

    def names(self) -> list[str]:
        """Return the label names, sorted."""
        return sorted(self._postings)

    def values(self, name: str) -> list[str]:
        """Return the values of a label, unsorted."""
        return list(self._postings.get(name, ()))

    def select(self, accepted: Sequence[tuple[Matcher, frozenset[str]]]) -> IntArray:
        """Return the sorted ids of the series that satisfy every matcher: int64 of shape [series].

        `accepted` pairs each matcher with the existing values that it matches (see `accepted_values`). The caller
        finds these values before, so that no regex runs while the store is locked.
        """
        chosen: IntArray | None = None
        excluding = []
        for matcher, values in accepted:
            postings = self._postings.get(matcher.name, {})
            if matcher.matches(""):
                # Series without the label match too. The answer is all series except those with another value.
                excluding.append([ids for value, ids in postings.items() if value not in values])
            else:
                mine = _union([postings[value] for value in values if value in postings])
                chosen = mine if chosen is None else chosen[_contained(chosen, mine)]
        if chosen is None:
            chosen = np.array(self._all, dtype=np.int64)
        for others in excluding:
            if len(chosen) and others:
                chosen = chosen[~_contained(chosen, _union(others))]
        return chosen


def _union(postings: Sequence[array[int]]) -> IntArray:
    """Return the sorted ids of several postings. They share no id: a series has one value of a label."""
    arrays = [np.array(ids, dtype=np.int64) for ids in postings]
    return np.sort(np.concatenate(arrays), kind="stable") if arrays else np.empty(0, dtype=np.int64)


def _contained(ids: IntArray, among: IntArray) -> BoolArray:
    """Return a bool mask, in the shape of `ids`, of the ids that are in `among`. Both are sorted."""
    if not len(among):
        return np.zeros(len(ids), dtype=np.bool_)
    found: BoolArray = among[np.minimum(np.searchsorted(among, ids), len(among) - 1)] == ids
    return found


def _without(ids: array[int], gone: IntArray) -> array[int]:
    kept = np.array(ids, dtype=np.int64)
    return array("q", kept[~_contained(kept, gone)].tobytes())


def accepted_values(matcher: Matcher, existing: Iterable[str]) -> frozenset[str]:
    """Return the values among `existing` that satisfy the matcher. A regex runs once a value, not once a series."""
    named = matcher.alternatives()
    if named is not None:
        return named
    return matcher.matching(existing)
