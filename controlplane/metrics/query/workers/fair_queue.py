"""Whose ad-hoc query is next: turns are shared between askers, not between queries.

An asker is a token, whoever holds it. One that asks a thousand heavy queries waits for itself: others get their first
turn at once, and every further one in rotation.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from controlplane.errors import QueryError


@dataclass(frozen=True)
class Shares:
    """How many queries may run and wait at a time."""

    each: int
    """Running, of one asker."""
    together: int
    """Running, of all askers, as long as each has more than one."""
    most: int
    """Running, of all askers: beyond `together` an asker that has none running still gets one."""
    waiting: int = 200
    each_waiting: int = 64
    """Waiting, of one asker: a dashboard with more panels is opened in two goes."""


class Turn:
    """The right to have one query running. Give it back once, whatever became of the query."""

    def __init__(self, queue: FairQueue, asker: str) -> None:
        self._queue, self._asker, self._held = queue, asker, True

    def end(self) -> None:
        """Let the next one have its turn; ending a turn again does nothing."""
        if self._held:
            self._held = False
            self._queue.ended(self._asker)


class FairQueue:
    """Hands out turns. Use on one event loop."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[Turn]]] = {}
        """By asker."""
        self._served: dict[str, int] = {}
        """When each asker that is here had its last turn, counted in turns."""
        self._turns = 0
        self._closed: QueryError | None = None
        self.refused = 0
        """Queries that were turned away because too many waited."""

    @property
    def running(self) -> int:
        """Turns that are held."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Queries that wait for a turn."""
        return sum(map(len, self._waiting.values()))

    async def turn(self, asker: str) -> Turn:
        """Wait for a turn. Cancel to leave the queue. Raises QueryError(too_many_requests, unavailable) at once."""
        if self._closed is not None:
            raise self._closed
        mine = self._waiting.get(asker, ())
        if not mine and self._may_run(asker):
            return self._begin(asker)
        if len(mine) >= self._shares.each_waiting:
            self.refused += 1
            told = f"{len(mine)} queries of this token are waiting already; ask again when some are answered"
            raise QueryError("too_many_requests", told)
        if (waiting := self.waiting) >= self._shares.waiting:
            self.refused += 1
            raise QueryError("unavailable", f"{waiting} queries are waiting already; try again later")
        place: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(asker, deque()).append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                place.result().end()  # the turn came in the same moment
            else:
                self._leave(asker, place)
            raise

    def close(self, reason: QueryError) -> None:
        """Give no further turns, and tell those who wait why."""
        self._closed = reason
        for places in self._waiting.values():
            for place in places:
                if not place.done():
                    place.set_exception(reason)
        self._waiting.clear()

    def ended(self, asker: str) -> None:
        """Note the end of a turn; see Turn.end."""
        self._running[asker] -= 1
        if not self._running[asker]:
            del self._running[asker]
        self._call()
        self._forget(asker)

    def _call(self) -> None:
        """Give free turns to those who wait: first who has least running, of those whose last one is longest ago."""
        while True:
            able = [asker for asker in self._waiting if self._may_run(asker)]
            if not able:
                return
            asker = min(able, key=lambda one: (self._running[one], self._served.get(one, 0)))
            places = self._waiting[asker]
            place = places.popleft()
            if not places:
                del self._waiting[asker]
            if not place.done():  # else whoever waited is on the way out
                place.set_result(self._begin(asker))

    def _may_run(self, asker: str) -> bool:
        running, own = self.running, self._running[asker]
        if not own:
            return running < self._shares.most
        return own < self._shares.each and running < self._shares.together

    def _begin(self, asker: str) -> Turn:
        self._running[asker] += 1
        self._turns += 1
        self._served[asker] = self._turns
        return Turn(self, asker)

    def _leave(self, asker: str, place: asyncio.Future[Turn]) -> None:
        places = self._waiting.get(asker)
        if places and place in places:
            places.remove(place)
            if not places:
                del self._waiting[asker]
        self._forget(asker)

    def _forget(self, asker: str) -> None:
        if asker not in self._running and asker not in self._waiting:
            self._served.pop(asker, None)
