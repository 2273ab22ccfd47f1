"""Knowledge of each rota: the shifts, the calendar's age, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alerts.duty import Roster, Turn
from controlplane.fleet.rota.calendar import Occurrence
from controlplane.fleet.view import View, instant, rfc3339

GAPS_S = 14 * 86_400.0
"""Span after now in which gaps are shown and warned of. Chosen: a rota is planned two weeks ahead at least."""
OLD_S = 3600.0
"""Age of a calendar, in seconds, from which on it is old: twelve fetches have failed. RotaCalendarOld has the same."""
MAX_SHOWN = 20
"""Gaps, and events that name nobody, that are shown of a rota."""


@dataclass(frozen=True)
class RotaState:
    """Knowledge of one rota."""

    name: str
    source: str
    """`file` or `url`."""
    time_zone: str
    fallback: str
    roster: Roster = field(default_factory=Roster)
    fetched_at: float | None = None
    """Unix second at which the calendar was known to be current, and its shifts were read; None: it was never read."""
    fault: str = ""
    """Why the calendar could not be read the last time; "" when it could."""
    unknown: tuple[Occurrence, ...] = ()
    """Events that name nobody in `people:`."""
    awaited_since: float = 0.0
    """Unix second from which on this process has waited for the first reading."""


class TurnView(View):
    """A span in which the same people are on call."""

    people: tuple[str, ...]
    starts_at: str
    ends_at: str | None
    """null: no change is known."""


class EventView(View):
    """An event of a calendar."""

    summary: str
    starts_at: str
    ends_at: str


class RotaView(View):
    """One rota: who is on call now and next, and until when."""

    name: str
    source: str
    time_zone: str
    fallback: str
    """Receiver while nobody is on call."""
    on_call: tuple[str, ...]
    """People on call now; none in a gap."""
    until: str | None
    """Time of the next change; null: none is known."""
    next: TurnView | None
    """The next people on call after now."""
    gaps: tuple[TurnView, ...]
    """The first spans of the next 14 days in which nobody is on call."""
    unknown: tuple[EventView, ...]
    """The first events that name nobody in `people:`."""
    fetched_at: str | None
    age_seconds: float | None
    """Seconds since the calendar was known to be current; null: it was never read."""
    too_old: bool
    """Whether it has not been read for an hour: shifts may have changed, and nobody knows."""
    fault: str | None
    """Why the last attempt to read the calendar failed."""


class RotaReading(NamedTuple):
    """Numbers of one rota. Those of the shifts are None while the calendar was never read."""

    name: str
    age_s: float
    """Seconds since the last good reading; without one, since this process waits for it."""
    on_call: int | None
    """Number of people on call now."""
    left_s: float | None
    """Seconds until the last shift ends; 0: no shift is left."""


class RotaDesk:
    """Shows rotas. `states` returns what is known now, by name."""

    def __init__(self, states: Callable[[], Mapping[str, RotaState]], now: Callable[[], float]) -> None:
        self._states, self._now = states, now

    def all(self) -> tuple[RotaView, ...]:
        """Return all rotas, in the order of fleet.yaml."""
        now = self._now()
        return tuple(_view(state, now) for state in self._states().values())

    def readings(self) -> tuple[RotaReading, ...]:
        """Return the numbers of all rotas, in the order of fleet.yaml."""
        now = self._now()
        return tuple(_reading(state, now) for state in self._states().values())


def gaps(roster: Roster, now: float) -> list[Turn]:
    """Return the spans of the next 14 days in which nobody is on call."""
    return [turn for turn in roster.turns(now, now + GAPS_S) if not turn.people]


def _reading(state: RotaState, now: float) -> RotaReading:
    age_s = _age_s(state, now)
    if state.fetched_at is None:
        return RotaReading(state.name, age_s, None, None)
    last = max((shift.ends_at for shift in state.roster.shifts), default=now)
    people = len(state.roster.on_call(now))
    return RotaReading(state.name, age_s, people, max(0.0, last - now))


def _age_s(state: RotaState, now: float) -> float:
    """Return the seconds since the last good reading; without one, since this process waits for it."""
    return max(0.0, now - (state.awaited_since if state.fetched_at is None else state.fetched_at))


def _view(state: RotaState, now: float) -> RotaView:
    roster = state.roster
    known = max(roster.known_until, now)
    turns = roster.turns(now, known) if known > now else []
    current, *later = turns or [Turn(now, now, ())]
    following = next((turn for turn in later if turn.people), None)
    return RotaView(
        name=state.name,
        source=state.source,
        time_zone=state.time_zone,
        fallback=state.fallback,
        on_call=current.people,
        until=rfc3339(current.ends_at) if current.ends_at < known else None,
        next=None if following is None else _turn(following, known),
        gaps=tuple(_turn(turn, math.inf) for turn in gaps(roster, now)[:MAX_SHOWN]),
        unknown=tuple(
            EventView(summary=one.summary, starts_at=instant(one.starts_at), ends_at=instant(one.ends_at))
            for one in state.unknown[:MAX_SHOWN]
        ),
        fetched_at=rfc3339(state.fetched_at),
        age_seconds=None if state.fetched_at is None else _age_s(state, now),
        too_old=_age_s(state, now) > OLD_S,
        fault=state.fault or None,
    )


def _turn(turn: Turn, known: float) -> TurnView:
    return TurnView(
        people=turn.people,
        starts_at=instant(turn.starts_at),
        ends_at=rfc3339(turn.ends_at) if turn.ends_at < known else None,
    )
