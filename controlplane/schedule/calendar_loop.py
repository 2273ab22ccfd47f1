"""A job that runs by the calendar, in one process at a time, once for each calendar time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from alerts.interfaces import Clock
from controlplane.clock.calendar import Timetable
from controlplane.errors import LeaseLost, Unavailable
from controlplane.schedule.loop import LeasedLoop
from controlplane.store.lease import Lease, LeaseStore
from controlplane.store.schedules import RunOutcome, ScheduleState, ScheduleStore

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Seconds between two looks at the clock. They cost no query: the next time is kept in memory."""
TTL_S = 30.0
"""Seconds after which another process takes a job over from one that died in it."""


@dataclass(frozen=True)
class Due:
    """One run."""

    at: float
    """Its calendar time, unix seconds. It may be in the past: the job is made up for."""
    previous: ScheduleState
    """The job's state before it."""


Job = Callable[[Lease, Due], Awaitable[Mapping[str, Any]]]
"""Runs once and returns notes for the next run. Its transactions check the lease. A run that a crash cut short is taken
again with the same `Due.at`, so a job must bear being run twice for one calendar time."""


class CalendarLoop(LeasedLoop):
    """Looks at the clock every few seconds, and runs its job under a lease when a calendar time has come.

    Invariant: a calendar time is recorded as run by the process that ran it, under the lease. So no time is run by two
    processes that both live, and one that a dead process left is run by another. Several times that passed while no
    process ran are made up for by one run.
    """

    def __init__(
        self,
        name: str,
        times: Callable[[], Timetable | None],
        job: Job,
        states: ScheduleStore,
        leases: LeaseStore,
        holder: str,
        clock: Clock,
    ) -> None:
        """`times` returns when the job runs, as configured now; None: not at all."""
        super().__init__(name, LOOK_S, leases, holder, TTL_S, self._run, clock)
        self._configured, self._job, self._states = times, job, states
        self._times: Timetable | None = None
        self._next: float | None = None
        self._looked_at = 0.0

    async def _turn(self) -> None:
        times, now = self._configured(), self._clock.now()
        if times is None:
            self._times = None
            return
        clock_was_set_back, self._looked_at = now < self._looked_at, now
        if times != self._times or clock_was_set_back:
            state = await asyncio.to_thread(self._states.open, self.name, str(times), now)
            self._times, self._next = times, times.calendar.next_after(state.done_to)
        if self._next is None or self._next > now:
            return
        try:
            await super()._turn()
        finally:
            await self.close()

    async def _run(self, lease: Lease) -> None:
        times = self._times
        assert times is not None
        # Another process may have run the job since this one looked.
        state = await asyncio.to_thread(self._states.open, self.name, str(times), self._clock.now())
        started = self._clock.now()
        due, missed = times.due(state.done_to, started)
        state = replace(state, missed=state.missed + missed)
        if due is not None:
            state = await self._once(lease, Due(due, state), started)
        elif missed:
            state = replace(state, done_to=started)
            await asyncio.to_thread(self._states.save, state, lease)
        if missed:
            log.warning("schedule %s: %d times passed without a run, up to %s", self.name, missed, _shown(started))
        self._next = times.calendar.next_after(state.done_to)

    async def _once(self, lease: Lease, due: Due, started: float) -> ScheduleState:
        notes, error, failure = due.previous.notes, None, None
        try:
            notes = await self._job(lease, due)
        except (LeaseLost, Unavailable):
            raise  # not run, and not recorded: it stays due
        except Exception as raised:  # noqa: BLE001 - recorded, and raised again below
            error, failure = f"{type(raised).__name__}: {raised}", raised
        state = replace(
            due.previous,
            done_to=due.at,
            due_at=due.at,
            started_at=started,
            finished_at=self._clock.now(),
            outcome=(RunOutcome.FAILED if failure else RunOutcome.DONE).value,
            error=error,
            runs=due.previous.runs + 1,
            failures=due.previous.failures + (failure is not None),
            notes=notes,
        )
        await asyncio.to_thread(self._states.save, state, lease)
        if failure is not None:
            raise failure
        log.info("schedule %s: the run of %s is done", self.name, _shown(due.at))
        return state


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
