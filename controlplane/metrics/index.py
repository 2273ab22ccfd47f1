"""The label index: which series carry which label value.

Written by the store's one writer under the store's lock. Postings are lists of series ids in increasing order, because
ids only grow.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from collectors.samples import Labels
from controlplane.metrics.blocks import BoolArray, IntArray
from controlplane.metrics.matchers import Matcher

METRIC_NAME = "__name__"

Postings = dict[str, dict[str, "array[int]"]]


class LabelIndex:
    """Postings by label name and value. `labels` in and out include `__name__`."""

    def __init__(self) -> None:
        self._postings: Postings = {}
        self._all: array[int] = array("q")

    def add(self, series_id: int, labels: Labels) -> None:
        """Index one series. `series_id` is larger than every one before."""
        self._all.append(series_id)
        for name, value in labels:
            self._postings.setdefault(name, {}).setdefault(value, array("q")).append(series_id)

    def remove(self, gone: set[int]) -> None:
        """Forget series. Walks every posting: meant for retention, not for the scrape path."""
        keep: Postings = {}
        for name, values in self._postings.items():
            left = {v: array("q", (i for i in ids if i not in gone)) for v, ids in values.items()}
            left = {v: ids for v, ids in left.items() if ids}
            if left:
                keep[name] = left
        self._postings = keep
        self._all = array("q", (i for i in self._all if i not in gone))

    def names(self) -> list[str]:
        """Return the label names, sorted."""
        return sorted(self._postings)

    def values(self, name: str) -> list[str]:
        """Return the values of a label, unsorted."""
        return list(self._postings.get(name, ()))

    def select(self, accepted: Sequence[tuple[Matcher, frozenset[str]]]) -> IntArray:
        """Return the sorted ids of the series that satisfy every matcher.

        `accepted` pairs each matcher with those existing values that it matches (see `accepted_values`), found
        beforehand so that no regex runs while the store is locked.
        """
        if not len(self._all):
            return np.empty(0, dtype=np.int64)
        size = self._all[-1] + 1
        chosen: BoolArray = np.zeros(size, dtype=np.bool_)
        chosen[np.array(self._all, dtype=np.int64)] = True
        for matcher, values in accepted:
            chosen &= self._mask(matcher, values, size)
        return np.flatnonzero(chosen)

    def _mask(self, matcher: Matcher, values: frozenset[str], size: int) -> BoolArray:
        postings = self._postings.get(matcher.name, {})
        if matcher.matches(""):
            # Series without the label match too, so the answer is all but the carriers of other values.
            mask = np.ones(size, dtype=np.bool_)
            _assign(mask, (ids for v, ids in postings.items() if v not in values), False)
        else:
            mask = np.zeros(size, dtype=np.bool_)
            _assign(mask, (postings[v] for v in values if v in postings), True)
        return mask


def _assign(mask: BoolArray, postings: Iterable[array[int]], value: bool) -> None:
    for ids in postings:
        mask[np.array(ids, dtype=np.int64)] = value


def accepted_values(matcher: Matcher, existing: Iterable[str]) -> frozenset[str]:
    """Return the values among `existing` that satisfy the matcher. Regexes run per distinct value, not per series."""
    named = matcher.alternatives()
    if named is not None:
        return named
    return frozenset(v for v in existing if matcher.matches(v))
