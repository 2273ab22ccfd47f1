"""Finds the number of a series by its hash, in 16 bytes a series: a dictionary of series takes some 250.

Hashes may meet by chance: whoever asks compares the series itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from controlplane.metrics.arrays import BoolArray, IntArray

RECENT = 4096
"""Numbers that are kept in a dictionary before they are sorted in; or an eighth of all, where that is more."""


class SeriesNumbers:
    """Numbers by hash; a hash may have several. Callers hold the store's lock."""

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.int64)
        """Sorted."""
        self._numbers = np.empty(0, dtype=np.int64)
        """[hashes]"""
        self._recent: dict[int, int] = {}
        """Not sorted in yet."""
        self._met: list[tuple[int, int]] = []
        """(hash, number) of those whose hash was there already."""
        self._gone = 0
        """Numbers that are no more, but may still be here."""

    def __len__(self) -> int:
        return len(self._hashes) + len(self._recent) + len(self._met)

    def find(self, hashes: IntArray) -> Iterator[tuple[int, int]]:
        """Yield (position, number) for each number that one of the hashes had; positions may come several times."""
        if len(self._hashes):
            first = np.searchsorted(self._hashes, hashes)
            found = self._hashes[np.minimum(first, len(self._hashes) - 1)] == hashes
            for position in np.flatnonzero(found).tolist():
                at, wanted = int(first[position]), hashes[position]
                while at < len(self._hashes) and self._hashes[at] == wanted:
                    yield position, int(self._numbers[at])
                    at += 1
        if self._recent:
            wanted = hashes.tolist()
            for position, number in enumerate(map(self._recent.get, wanted)):
                if number is not None:
                    yield position, number
            for key, number in self._met:
                yield from ((position, number) for position, other in enumerate(wanted) if other == key)

    def add(self, hashes: Iterable[int], numbers: Iterable[int], living: Callable[[IntArray], BoolArray]) -> None:
        """Take in numbers. `living` tells which of an array of numbers still are."""
        for key, number in zip(hashes, numbers, strict=True):
            if self._recent.setdefault(key, number) != number:
                self._met.append((key, number))
        if len(self._recent) > max(RECENT, len(self._hashes) // 8):
            self._sort_in(living)

    def gone(self, count: int, living: Callable[[IntArray], BoolArray]) -> None:
        """Take note that so many numbers are no more; those that are not `living` go once they are half of all."""
        self._gone += count
        if self._gone > max(RECENT, len(self) // 2):
            self._sort_in(living)

    def _sort_in(self, living: Callable[[IntArray], BoolArray]) -> None:
        count, met = len(self._recent), np.array(self._met, dtype=np.int64).reshape(-1, 2)
        hashes = np.concatenate((np.fromiter(self._recent, np.int64, count), met[:, 0]))
        numbers = np.concatenate((np.fromiter(self._recent.values(), np.int64, count), met[:, 1]))
        order = np.argsort(hashes)
        hashes, numbers = hashes[order], numbers[order]
        at = np.searchsorted(self._hashes, hashes)
        self._hashes, self._numbers = np.insert(self._hashes, at, hashes), np.insert(self._numbers, at, numbers)
        if self._gone:
            kept = living(self._numbers)
            self._hashes, self._numbers = self._hashes[kept], self._numbers[kept]
        self._recent, self._met, self._gone = {}, [], 0
