"""A map from the hash of a series to its number. It takes 16 bytes a series; a dictionary takes some 250.

Two series may have the same hash. Therefore the caller must compare the series itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from controlplane.metrics.arrays import BoolArray, IntArray

RECENT = 4096
"""Numbers that are kept in a dictionary before they are sorted into the arrays, or an eighth of all numbers if that is
more. Chosen."""


class SeriesNumbers:
    """Numbers by hash. A hash may have several numbers. Callers hold the store's lock."""

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.int64)
        """[hashes] sorted hashes."""
        self._numbers = np.empty(0, dtype=np.int64)
        """[hashes] number of each hash."""
        self._recent: dict[int, int] = {}
        """Numbers by hash that are not in the arrays yet."""
        self._met: list[tuple[int, int]] = []
        """Pairs (hash, number) whose hash was already in `_recent`."""
        self._gone = 0
        """Count of removed series whose numbers may still be here."""

    def __len__(self) -> int:
        return len(self._hashes) + len(self._recent) + len(self._met)

    def find(self, hashes: IntArray) -> Iterator[tuple[int, int]]:
        """Yield (position, number) for each number of `hashes` [n]. A position may come several times."""
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
        """Add numbers with their hashes. `living` returns a mask [n] of the numbers [n] whose series still exist."""
        for key, number in zip(hashes, numbers, strict=True):
            if self._recent.setdefault(key, number) != number:
                self._met.append((key, number))
        if len(self._recent) > max(RECENT, len(self._hashes) // 8):
            self._sort_in(living)

    def gone(self, count: int, living: Callable[[IntArray], BoolArray]) -> None:
        """Note that `count` series were removed. Their numbers are dropped once they are half of all.

        `living` returns a mask [n] of the numbers [n] whose series still exist.
        """
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
