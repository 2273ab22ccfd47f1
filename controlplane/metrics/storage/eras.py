"""Stretches of the timeline that were lived through twice, as the clock was set: which rows count there.

An era begins when the clock was set and rows lie ahead of it. From its begin on, its rows are the present, and those of
eras before are hidden; where it ended, as the clock was set once more, they show again. So the two passes over one
stretch never mix, which would read as counters that reset, and nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

OPEN_END_MS = 2**62
"""The end of an era that has not ended."""


class Era(NamedTuple):
    """A journal record: the clock was set."""

    number: int
    """The first one, which no record begins, is 0."""
    begins_ms: int
    hides_from_ms: int
    """Rows of earlier eras are hidden from here on."""
    before_ms: int
    """Where the era before ended: what lies behind it is none of its business."""


class Eras:
    """All eras of a store. One thread adds, any number read."""

    def __init__(self) -> None:
        self._known: dict[int, Era] = {}
        self._hidden: dict[int, tuple[tuple[int, int], ...]] = {}
        self.current = 0

    def __iter__(self) -> Iterator[Era]:
        """Iterate over the eras that were begun, in order."""
        return iter([self._known[number] for number in sorted(self._known)])

    def add(self, era: Era) -> None:
        """Begin an era, or take in one of an earlier run."""
        self._known = {**self._known, era.number: era}
        self._hidden = {}
        self.current = max(self.current, era.number)

    def hidden(self, number: int) -> tuple[tuple[int, int], ...]:
        """Return the stretches `[from, to)`, unix milliseconds, in which an era's rows are hidden: in order, apart."""
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
