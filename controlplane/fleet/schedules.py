"""The calendar's jobs as people see them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.clock.calendar import Timetable
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.store.schedules import RunOutcome, ScheduleState


class RunView(View):
    """The last run of a job."""

    due_at: str
    """Its calendar time."""
    started_at: str | None
    finished_at: str | None
    outcome: str
    """done or failed."""
    error: str | None

    @property
    def ok(self) -> bool:
        """Whether it did what it was for."""
        return self.outcome == RunOutcome.DONE


class ScheduleView(View):
    """One job that runs by the calendar."""

    name: str
    cron: str
    timezone: str
    shift_seconds: float
    """Every run is so much later than the cron expression says."""
    catch_up_seconds: float
    next_at: str | None
    """The next calendar time; in the past while the job is overdue."""
    last: RunView | None
    runs: int
    failures: int
    missed: int
    """Calendar times that passed without a run."""


def schedule_views(
    timetables: Mapping[str, Timetable], states: Mapping[str, ScheduleState], now: float
) -> Sequence[ScheduleView]:
    """Return the configured jobs by name. A job without a state was never looked at, so it has no run before `now`."""
    return [_view(name, timetables[name], states.get(name), now) for name in sorted(timetables)]


def _view(name: str, times: Timetable, state: ScheduleState | None, now: float) -> ScheduleView:
    return ScheduleView(
        name=name,
        cron=times.calendar.cron,
        timezone=times.calendar.timezone,
        shift_seconds=times.calendar.shift_s,
        catch_up_seconds=times.catch_up_s,
        next_at=rfc3339(times.calendar.next_after(state.done_to if state else now)),
        last=None if state is None or state.due_at is None else _run(state, state.due_at),
        runs=state.runs if state else 0,
        failures=state.failures if state else 0,
        missed=state.missed if state else 0,
    )


def _run(state: ScheduleState, due_at: float) -> RunView:
    return RunView(
        due_at=instant(due_at),
        started_at=rfc3339(state.started_at),
        finished_at=rfc3339(state.finished_at),
        outcome=state.outcome or "unknown",
        error=state.error,
    )
