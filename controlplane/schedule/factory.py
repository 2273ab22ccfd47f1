"""Makes the loops of one process: with its name, its clock and, where one process at a time may act, a lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from alerts.interfaces import Clock
from controlplane.clock.calendar import Timetable
from controlplane.schedule.calendar_loop import CalendarLoop, Job
from controlplane.schedule.enduring import EnduringLoop
from controlplane.schedule.loop import LeasedLoop, PlainLoop, always
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.schedules import ScheduleStore

TTL_S = 15.0
"""A replica that dies is followed by another within this time."""


class LoopFactory:
    """Makes loops that are not yet scheduled."""

    def __init__(self, leases: LeaseStore, schedules: ScheduleStore, holder: str, clock: Clock) -> None:
        """`holder` is this process's name in the leases."""
        self._leases, self._schedules, self._holder, self._clock = leases, schedules, holder, clock

    def plain(self, name: str, interval_s: float, turn: Callable[[], Awaitable[None]]) -> PlainLoop:
        """Return a loop that every process runs for itself."""
        return PlainLoop(name, interval_s, turn, self._clock)

    def leased(
        self,
        name: str,
        interval_s: float,
        tick: Callable[[Lease], Awaitable[None]],
        *,
        wanted: Callable[[], bool] = always,
    ) -> LeasedLoop:
        """Return a loop that one process at a time runs. A rare one keeps its lease from one turn to the next.

        While `wanted` is false it takes no turn and holds no lease.
        """
        ttl_s = max(TTL_S, 2 * interval_s)
        renew_s = min(ttl_s / 3, ttl_s - interval_s - 1)
        return LeasedLoop(
            name,
            interval_s,
            self._leases,
            self._holder,
            ttl_s,
            tick,
            self._clock,
            renew_every_s=renew_s,
            wanted=wanted,
        )

    def enduring(
        self,
        name: str,
        interval_s: float,
        tick: Callable[[Lease], Awaitable[None]],
        follow: Callable[[], Awaitable[None]],
    ) -> EnduringLoop:
        """Return a loop that goes on while the database cannot be asked.

        One process at a time runs `tick`, under a lease; the others run `follow`.
        """
        return EnduringLoop(
            name,
            interval_s,
            self._leases,
            self._holder,
            TTL_S,
            tick,
            self._clock,
            renew_every_s=TTL_S / 3,
            follow=follow,
        )

    def calendar(self, name: str, times: Callable[[], Timetable | None], job: Job) -> CalendarLoop:
        """Return a loop that runs `job` at the times that `times` returns, in one process at a time."""
        return CalendarLoop(name, times, job, self._schedules, self._leases, self._holder, self._clock)
