"""The further slots of series: a series whose source changes its layout has a slot in each layout.

Pairs (number of the series, slot) are in sorted arrays of 16 bytes a pair. In a dictionary of tuples a series with one
further slot takes over 200 bytes, and a target that changes its layout has one for each of its series.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from controlplane.metrics.arrays import BoolArray, IntArray

NONE = -1
"""Number that stands for no series and for no slot."""

RECENT = 4096
"""Pairs that are kept apart before they are sorted in, or an eighth of all pairs if that is more. Chosen."""


class SeriesSlots:
    """Slots by the number of their series, beside the slot that is the number itself. Callers hold the store's lock.

    Slots of removed layouts stay until they are half of all. Callers leave them out.
    """

    def __init__(self) -> None:
        self._sorted, self._recent = _Pairs.of([]), _Pairs.of([])
        self._new: list[tuple[IntArray, IntArray]] = []
        """Pairs that are not in `_recent` yet."""
        self._gone = 0
        """Count of pairs whose slots were removed."""

    def __len__(self) -> int:
        return len(self._sorted.numbers) + len(self._recent.numbers) + sum(len(numbers) for numbers, _ in self._new)

    def add(self, numbers: IntArray, slots: IntArray) -> None:
        """Add a slot for each of some series; both `[n]`. All slots are greater than those that were added before."""
        if len(numbers):
            self._new.append((numbers, slots))

    def gone(self, count: int, living: Callable[[IntArray], BoolArray]) -> None:
        """Note that `count` pairs have slots that were removed. `living` returns a mask of the slots [n] that exist."""
        self._gone += count
        if count and self._gone > max(RECENT, len(self) // 2):
            self._settle()
            self._sorted, self._recent = _Pairs.of([self._sorted, self._recent]).where(living), _Pairs.of([])
            self._gone = 0
        elif count and self._gone == len(self):
            self._sorted, self._recent, self._new, self._gone = _Pairs.of([]), _Pairs.of([]), [], 0

    def of(self, numbers: IntArray) -> tuple[IntArray, IntArray]:
        """Return the further slots of some series `numbers` [n], as two arrays [slots]: indexes into `numbers`, slots.

        Indexes ascend, and the slots of an index do. Slots of removed layouts may be among them.
        """
        self._settle()
        at, slots = zip(*(pairs.of_numbers(numbers) for pairs in (self._sorted, self._recent)), strict=True)
        places, found = np.concatenate(at), np.concatenate(slots)
        order = np.argsort(places, kind="stable")
        return places[order], found[order]

    def last(self, numbers: IntArray) -> IntArray:
        """Return the greatest further slot of each of some series `numbers` [n]: int64 of shape [n]. NONE without one.

        It is the one that lives longest where layouts expire in their order.
        """
        self._settle()
        found = np.full(len(numbers), NONE)
        for pairs in (self._sorted, self._recent):
            at = np.searchsorted(pairs.numbers, numbers, side="right") - 1
            there = at >= 0
            there[there] = pairs.numbers[at[there]] == numbers[there]
            found[there] = pairs.slots[at[there]]
        return found

    def _settle(self) -> None:
        """Sort the new pairs in."""
        if not self._new:
            return
        new = [_Pairs(numbers, slots) for numbers, slots in self._new]
        self._recent, self._new = _Pairs.of([self._recent, *new]), []
        if len(self._recent.numbers) > max(RECENT, len(self._sorted.numbers) // 8):
            self._sorted, self._recent = _Pairs.of([self._sorted, self._recent]), _Pairs.of([])


class _Pairs:
    """Pairs in the order of their numbers, and of their slots within a number."""

    __slots__ = ("numbers", "slots")

    def __init__(self, numbers: IntArray, slots: IntArray) -> None:
        self.numbers, self.slots = numbers, slots

    @classmethod
    def of(cls, some: list[_Pairs]) -> _Pairs:
        """Return several lots of pairs as one. The slots of a lot are greater than those of the lots before it."""
        if not some:
            return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        numbers = np.concatenate([pairs.numbers for pairs in some])
        order = np.argsort(numbers, kind="stable")
        return cls(numbers[order], np.concatenate([pairs.slots for pairs in some])[order])

    def where(self, living: Callable[[IntArray], BoolArray]) -> _Pairs:
        """Return the pairs whose slots exist. `living` returns a mask of the slots [n] that do."""
        kept = living(self.slots)
        return _Pairs(self.numbers[kept], self.slots[kept])

    def of_numbers(self, wanted: IntArray) -> tuple[IntArray, IntArray]:
        """Return indexes into `wanted` [n], and the slots of these numbers; both int64 of shape [slots]."""
        first = np.searchsorted(self.numbers, wanted)
        counts = np.searchsorted(self.numbers, wanted, side="right") - first
        places = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.slots[np.repeat(first, counts) + within]
