"""The shifts of a rota: who is on call. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Shift:
    """A span in which people are on call. Times are unix seconds; the end is exclusive."""

    starts_at: float
    ends_at: float
    people: tuple[str, ...]
    """Names of people in fleet.yaml, at least one."""


class Turn(NamedTuple):
    """A span in which the same people are on call. Times are unix seconds; the end is exclusive."""

    starts_at: float
    ends_at: float
    people: tuple[str, ...]
    """Nobody, in a gap."""


@dataclass(frozen=True)
class Roster:
    """The shifts of one rota, as far as they are known. Shifts may overlap: several people are on call then."""

    shifts: tuple[Shift, ...] = ()
    known_until: float = -math.inf
    """Unix second up to which `shifts` are complete. Nothing is known after it."""

    def on_call(self, at: float) -> tuple[str, ...]:
        """Return the people on call at unix second `at`, each once, in the order of the alphabet; () for nobody."""
        return tuple(sorted({name for one in self.shifts if one.starts_at <= at < one.ends_at for name in one.people}))

    def next_change(self, at: float) -> float:
        """Return the unix second after `at` at which a shift begins or ends; infinity when none is known."""
        return min((time for time in self._edges() if time > at), default=math.inf)

    def turns(self, start: float, end: float) -> list[Turn]:
        """Return the turns and gaps between two unix seconds, in order, without holes."""
        begins, ends = ([(getattr(one, edge), one) for one in self.shifts] for edge in ("starts_at", "ends_at"))
        moves = sorted(
            [(at, 1, one) for at, one in begins if at < end] + [(at, -1, one) for at, one in ends if at < end],
            key=lambda move: move[:2],
        )
        present: Counter[str] = Counter()
        found = [Turn(start, end, ())]
        for at, by, shift in moves:
            present.update(dict.fromkeys(shift.people, by))
            people = tuple(sorted(+present))
            last = found.pop()
            found += [last._replace(ends_at=at)] if at > last.starts_at else []
            found.append(Turn(max(at, start), end, people))
        return _merged(found)

    def _edges(self) -> Iterable[float]:
        return (time for one in self.shifts for time in (one.starts_at, one.ends_at))


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """Return turns with those of the same people joined that follow each other."""
    found: list[Turn] = []
    for one in turns:
        if found and found[-1].people == one.people:
            found[-1] = found[-1]._replace(ends_at=one.ends_at)
        else:
            found.append(one)
    return found
