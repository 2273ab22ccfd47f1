"""Eras: periods between two steps of the clock. They decide which rows are visible where two eras overlap.

A new era begins when the clock was set and the store has rows later than the new time. From then on rows of earlier
eras are hidden. Where the new era ends, because the clock was set again, earlier rows are visible again. So rows of two
eras never mix in one interval, which would look like counter resets. No row is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

OPEN_END_MS = 2**62
"""End of an era that has not ended, in unix milliseconds."""


class Era(NamedTuple):
    """A journal record: a new era begins because the clock was set."""

    number: int
    """Number of the era. The first era is 0 and has no record."""
    begins_ms: int
    """Unix milliseconds at which the era begins."""
    hides_from_ms: int
    """Unix milliseconds from which on rows of earlier eras are hidden."""
    before_ms: int
    """Unix milliseconds of the last row of the previous era. The previous era hides no rows after it."""


class Eras:
    """All eras of a store. One thread adds, any number read."""

    def __init__(self) -> None:
        self._known: dict[int, Era] = {}
        self._hidden: dict[int, tuple[tuple[int, int], ...]] = {}
        self.current = 0

    def __iter__(self) -> Iterator[Era]:
        """Iterate over the eras that have a record, in order."""
        return iter([self._known[number] for number in sorted(self._known)])

    def add(self, era: Era) -> None:
        """Add an era, new or of an earlier run."""
        self._known = {**self._known, era.number: era}
        self._hidden = {}
        self.current = max(self.current, era.number)

    def hidden(self, number: int) -> tuple[tuple[int, int], ...]:
        """Return the intervals `[from, to)`, unix milliseconds, in which an era's rows are hidden. Sorted, disjoint."""
        if number >= self.current:
            return ()
        found = self._hidden
        if number not in found:
            later = [era for era in self if era.number > number]
            ends = [*(era.before_ms + 1 for era in later[1:]), OPEN_END_MS]
            found[number] = _joined([(era.hides_from_ms, end) for era, end in zip(later, ends, strict=True)])
        return found[number]


def _joined(stretches: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(stretch for stretch in stretches if stretch[0] < stretch[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
