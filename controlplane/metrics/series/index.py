"""The label index: the ids of the series that have a label value.

It is changed and read under the store's lock. Postings are lists of series ids, nearly all in increasing order.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from collectors.samples import METRIC_NAME
from controlplane.metrics.arrays import BoolArray, IntArray
from controlplane.metrics.series.matchers import Matcher

__all__ = ["METRIC_NAME", "LabelIndex", "Postings", "accepted_values"]

FEW = 64
"""Ids that may be gone from however short a posting."""

WIDE = 2**32
"""Ids from here on take eight bytes. They only grow: a thousand new series a second reach it after seven weeks."""

Postings = dict[str, dict[str, "array[int]"]]


class LabelIndex:
    """Postings by label name and value. `__name__` is a label here.

    Ids of removed series stay in a long posting until they are half of it. `select` returns them too, and its caller
    leaves them out. A label value without any existing series is not in the index.
    """

    def __init__(self) -> None:
        self._postings: Postings = {}
        self._all = _ids()
        self._gone: Counter[tuple[str, str] | None] = Counter()
        """How many ids of a posting are gone, by label pair; None: of all."""

    def add(self, pair: tuple[str, str], ids: IntArray) -> None:
        """Add series with a label pair. `ids` [n] ascend, and the pair has none of them yet."""
        values = self._postings.setdefault(pair[0], {})
        values[pair[1]] = _extended(values.get(pair[1]), ids)

    def add_all(self, ids: IntArray) -> None:
        """Add series to the list of all. `ids` [n] ascend, and the list has none of them yet."""
        self._all = _extended(self._all, ids)

    def remove(self, pair: tuple[str, str] | None, count: int, living: Callable[[IntArray], BoolArray]) -> None:
        """Note that `count` more series with a label pair were removed. If `pair` is None, of all series.

        `living` returns a mask [n] of the ids [n] whose series still exist.
        """
        ids = self._all if pair is None else self._postings[pair[0]][pair[1]]
        gone = self._gone[pair] + count
        if gone < len(ids) and gone <= max(FEW, len(ids) // 2):
            self._gone[pair] = gone
            return
        self._gone.pop(pair, None)
        every = np.array(ids, dtype=np.int64)
        left = _extended(None, every[living(every)]) if gone < len(ids) else _ids()
        if pair is None:
            self._all = left
        elif left:
            self._postings[pair[0]][pair[1]] = left
        else:
            del self._postings[pair[0]][pair[1]]
            if not self._postings[pair[0]]:
                del self._postings[pair[0]]

    def names(self) -> list[str]:
        """Return the label names, sorted."""
        return sorted(self._postings)

    def values(self, name: str) -> list[str]:
        """Return the values of a label, unsorted."""
        return list(self._postings.get(name, ()))

    def select(self, accepted: Sequence[tuple[Matcher, frozenset[str]]]) -> IntArray:
        """Return the sorted ids of the series that satisfy every matcher: int64 of shape [series].

        Removed series may be among them. `accepted` pairs each matcher with the existing values that it matches (see
        `accepted_values`). The caller finds these values before, so that no regex runs while the store is locked.
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
            chosen = _union([self._all])
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


def _ids() -> array[int]:
    return array("I")


def _extended(ids: array[int] | None, more: IntArray) -> array[int]:
    """Return postings with further ids, of four bytes each as long as that is enough."""
    if ids is None:
        ids = _ids()
    if len(more) and int(more[-1]) >= WIDE and ids.typecode == "I":
        ids = array("Q", ids)
    ids.frombytes(more.astype(np.uint32 if ids.typecode == "I" else np.uint64).tobytes())
    return ids


def accepted_values(matcher: Matcher, existing: Iterable[str]) -> frozenset[str]:
    """Return the values among `existing` that satisfy the matcher. A regex runs once a value, not once a series."""
    named = matcher.alternatives()
    if named is not None:
        return named
    return matcher.matching(existing)
