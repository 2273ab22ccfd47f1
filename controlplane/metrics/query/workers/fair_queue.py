"""A fair queue of ad-hoc queries: turns are shared between askers, not between queries.

An asker is a token. An asker with a thousand heavy queries only delays itself: other askers get their first turn at
once, and every further turn in rotation.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from controlplane.errors import QueryError


@dataclass(frozen=True)
class Shares:
    """Maximum numbers of queries that run and wait at a time."""

    each: int
    """Running queries of one asker."""
    together: int
    """Running queries of all askers, at which an asker that has a running query gets no further turn."""
    most: int
    """Running queries of all askers. Between `together` and `most`, an asker without a running query still gets one."""
    waiting: int = 200
    """Waiting queries of all askers."""
    each_waiting: int = 64
    """Waiting queries of one asker. Chosen: enough for a large dashboard."""


class Turn:
    """The right to run one query. Call `end` when the query has ended in any way."""

    def __init__(self, queue: FairQueue, asker: str) -> None:
        self._queue, self._asker, self._held = queue, asker, True

    def end(self) -> None:
        """Give the turn to the next query. A second call does nothing."""
        if self._held:
            self._held = False
            self._queue.ended(self._asker)


class FairQueue:
    """Hands out turns. Use on one event loop."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[Turn]]] = {}
        """Waiting queries by asker."""
        self._served: dict[str, int] = {}
        """Number of the last turn of each asker with a running or waiting query."""
        self._turns = 0
        self._closed: QueryError | None = None
        self.refused = 0
        """Number of queries that were refused because too many waited."""

    @property
    def running(self) -> int:
        """Number of turns that are held."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Number of queries that wait for a turn."""
        return sum(map(len, self._waiting.values()))

    async def turn(self, asker: str) -> Turn:
        """Wait for a turn and return it. Cancel the call to leave the queue.

        Raises QueryError at once: too_many_requests or unavailable when too many queries wait, or the reason of
        `close`.
        """
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
        """Give no further turns. Queries that wait raise `reason`."""
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
        """Give free turns to waiting askers, first to those with the fewest running queries.

        Of equal askers, the one whose last turn is longest ago is first.
        """
        while True:
            able = [asker for asker in self._waiting if self._may_run(asker)]
            if not able:
                return
            asker = min(able, key=lambda one: (self._running[one], self._served.get(one, 0)))
            places = self._waiting[asker]
            place = places.popleft()
            if not places:
                del self._waiting[asker]
            if not place.done():  # otherwise the caller was cancelled
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
