"""Jobs of the calendar as timelines: two replicas, an outage, a crash in a run, a clock that is set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from controlplane.clock.calendar import Calendar, Timetable
from controlplane.errors import NotFound, Unavailable
from controlplane.schedule import CalendarLoop, Due
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore, check_lease
from controlplane.store.schedules import ScheduleState, ScheduleStore

DAY = 86400.0
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
DAILY = Timetable(Calendar("0 12 * * *"))


class Clock(Protocol):
    time: float

    def now(self) -> float: ...


@dataclass
class Replica:
    """A process with one job, which notes its runs and can be made to fail."""

    name: str
    database: Database
    clock: Clock
    times: Timetable | None = DAILY
    ran: list[float] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        leases, states = LeaseStore(self.database), ScheduleStore(self.database)
        self.loop = CalendarLoop("report", lambda: self.times, self._job, states, leases, self.name, self.clock)

    async def _job(self, lease: Lease, due: Due) -> Mapping[str, Any]:
        with self.database.transaction() as session:
            check_lease(session, lease)
        self.ran.append(due.at)
        if self.fails:
            raise self.fails.pop(0)
        return {"number": due.previous.notes.get("number", 0) + 1}

    async def at(self, time: float) -> None:
        self.clock.time = time
        await self.loop.run_once()

    @property
    def state(self) -> ScheduleState:
        return ScheduleStore(self.database).all()["report"]


@pytest.fixture
def a(database: Database, clock: Clock) -> Replica:
    return Replica("a", database, clock)


@pytest.fixture
def b(database: Database, clock: Clock) -> Replica:
    return Replica("b", database, clock)


def holders(database: Database) -> set[str]:
    return {lease.holder for lease in LeaseStore(database).list()} - {""}


async def test_of_two_replicas_one_runs_each_calendar_time(a: Replica, b: Replica, database: Database) -> None:
    for time in (NOON - 60, NOON - 1):
        await a.at(time)
        await b.at(time)
    assert (a.ran, b.ran) == ([], [])
    assert a.state == ScheduleState("report", "0 12 * * * UTC", done_to=NOON - 60)
    for time in (NOON + 2, NOON + 7):
        await b.at(time)
        await a.at(time)
    assert (a.ran, b.ran) == ([], [NOON])
    await a.at(NOON + DAY)
    await b.at(NOON + DAY)
    assert (a.ran, b.ran) == ([NOON + DAY], [NOON])
    assert a.state == ScheduleState(
        "report",
        "0 12 * * * UTC",
        done_to=NOON + DAY,
        due_at=NOON + DAY,
        started_at=NOON + DAY,
        finished_at=NOON + DAY,
        outcome="done",
        runs=2,
        notes={"number": 2},
    )
    assert holders(database) == set()


async def test_between_calendar_times_the_database_is_not_asked(a: Replica, database: Database) -> None:
    await a.at(NOON - 60)
    database.close()
    with database.transaction() as session:  # a lease is a row: none is made before the time
        session.connection().exec_driver_sql("DROP TABLE lease")
    for time in (NOON - 50, NOON - 1):
        await a.at(time)
    assert a.loop.stats.failures == 0
    await a.at(NOON)
    assert a.loop.stats.failures == 1


async def test_a_time_that_passed_while_no_process_ran_is_made_up_for_once(
    a: Replica, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await a.at(NOON - 60)
    later = Replica("later", database, clock, Timetable(Calendar("0 12 * * *"), catch_up_s=2 * DAY))
    await later.at(NOON + DAY + 3600)
    await later.at(NOON + DAY + 3610)
    assert later.ran == [NOON + DAY]
    assert (later.state.missed, later.state.runs, later.state.done_to) == (1, 1, NOON + DAY)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == ["schedule report: 1 times passed without a run, up to 2026-11-28T13:00:00+00:00"]


async def test_a_time_that_is_too_old_is_missed(a: Replica, database: Database, clock: Clock) -> None:
    await a.at(NOON - 60)
    later = Replica("later", database, clock, Timetable(Calendar("0 12 * * *"), catch_up_s=3600))
    await later.at(NOON + 7200)
    assert (later.ran, later.state.missed, later.state.done_to) == ([], 1, NOON + 7200)
    await later.at(NOON + DAY)
    assert (later.ran, later.state.missed) == ([NOON + DAY], 1)


async def test_the_first_start_ever_has_nothing_to_make_up_for(a: Replica) -> None:
    await a.at(NOON + 60)
    assert (a.ran, a.state.missed) == ([], 0)


async def test_a_new_calendar_has_nothing_to_make_up_for(a: Replica) -> None:
    await a.at(NOON - 60)
    await a.at(NOON)
    a.times = Timetable(Calendar("*/10 * * * *"))
    await a.at(NOON + 3599)
    assert a.ran == [NOON]
    assert a.state.runs == 1
    await a.at(NOON + 3600)
    assert a.ran == [NOON, NOON + 3600]


async def test_a_job_that_is_taken_away_does_not_run_and_may_come_back(a: Replica) -> None:
    await a.at(NOON - 60)
    a.times = None
    await a.at(NOON + 60)
    assert a.ran == []
    a.times = DAILY
    await a.at(NOON + 120)
    assert a.ran == [NOON]  # its time is not a day old


async def test_a_run_that_fails_is_recorded_and_not_repeated(a: Replica, caplog: pytest.LogCaptureFixture) -> None:
    await a.at(NOON - 60)
    a.fails = [NotFound("no such model")]
    await a.at(NOON)
    await a.at(NOON + 5)
    assert a.ran == [NOON]
    assert (a.state.outcome, a.state.error) == ("failed", "NotFound: no such model")
    assert (a.state.runs, a.state.failures, a.state.notes) == (1, 1, {})
    assert "loop report: NotFound: no such model" in caplog.text
    await a.at(NOON + DAY)
    assert (a.state.outcome, a.state.error, a.state.runs, a.state.failures) == ("done", None, 2, 1)


async def test_a_run_without_a_database_stays_due(a: Replica, database: Database) -> None:
    await a.at(NOON - 60)
    a.fails = [Unavailable("the disk is full"), Unavailable("the disk is full")]
    for time in (NOON, NOON + 5):
        await a.at(time)
        assert (a.state.runs, holders(database)) == (0, set())
    await a.at(NOON + 10)
    assert (a.ran, a.state.runs, a.state.failures) == ([NOON, NOON, NOON], 1, 0)


async def test_a_run_that_a_crash_cut_short_is_taken_by_another_process(
    a: Replica, b: Replica, database: Database, run_out: Callable[[], None]
) -> None:
    await a.at(NOON - 60)
    LeaseStore(database).acquire("report", "dead", 30)  # it died in its run, and nothing is recorded
    await a.at(NOON)
    await b.at(NOON + 5)
    assert (a.ran, b.ran) == ([], [])
    run_out()
    await b.at(NOON + 30)
    await a.at(NOON + 30)
    assert (a.ran, b.ran) == ([], [NOON])


@pytest.mark.parametrize("back_s", [60.0, 3600.0, 10 * DAY])
async def test_a_clock_that_is_set_back_repeats_no_run(a: Replica, back_s: float) -> None:
    await a.at(NOON - 60)
    await a.at(NOON)
    await a.at(NOON + 5 - back_s)
    await a.at(NOON - back_s + DAY)
    expected = [NOON] if back_s < DAY else [NOON, NOON - back_s + DAY]
    assert [at for at in a.ran if at <= NOON] == expected
    await a.at(NOON + DAY + 5)
    assert a.ran[-1] == NOON + DAY


async def test_a_clock_that_was_years_ahead_does_not_stop_a_job(a: Replica) -> None:
    await a.at(NOON + 1000 * DAY - 60)
    await a.at(NOON + 1000 * DAY)
    await a.at(NOON - 60)
    await a.at(NOON)
    assert a.ran == [NOON + 1000 * DAY, NOON]
