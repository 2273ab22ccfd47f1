"""One loop, turn by turn: failures, two holders, takeover, a paused process that wakes late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from controlplane.errors import LeaseLost, Unavailable
from controlplane.schedule import LeasedLoop, PlainLoop
from controlplane.store.audit import AuditStore, audit
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore, check_lease


class Clock(Protocol):
    time: float

    def now(self) -> float: ...


class Process:
    """A process whose tick writes its name under its lease. Its tick can be stopped half way."""

    def __init__(self, name: str, database: Database, clock: Clock) -> None:
        self.name = name
        self.go = asyncio.Event()
        self.go.set()
        self.entered = asyncio.Event()
        self._database = database
        self.loop = LeasedLoop("rules", 5, LeaseStore(database), name, 15, self._tick, clock, sleep=never)

    async def _tick(self, lease: Lease) -> None:
        self.entered.set()
        await self.go.wait()
        await asyncio.to_thread(self._write, lease)

    def _write(self, lease: Lease) -> None:
        with self._database.transaction() as session:
            check_lease(session, lease)
            audit(session, self.name, "tick", "rules", "", float(lease.epoch))


async def never(_seconds: float) -> None:
    await asyncio.Event().wait()


def written(database: Database) -> list[str]:
    return [e.actor for e in reversed(AuditStore(database).recent(100))]


async def test_of_two_processes_one_ticks_and_the_other_skips(database: Database, clock: Clock) -> None:
    a, b = Process("a", database, clock), Process("b", database, clock)
    for _ in range(3):
        await a.loop.run_once()
        await b.loop.run_once()

    assert written(database) == ["a", "a", "a"]
    assert (a.loop.stats.ticks, a.loop.stats.skipped, a.loop.stats.holding) == (3, 0, True)
    assert (b.loop.stats.ticks, b.loop.stats.skipped, b.loop.stats.holding) == (0, 3, False)
    assert b.loop.stats.failures == 0


async def test_a_lease_that_ran_out_is_taken_over_and_the_old_holder_skips(
    database: Database, clock: Clock, run_out: Callable[[], None]
) -> None:
    a, b = Process("a", database, clock), Process("b", database, clock)
    await a.loop.run_once()
    run_out()

    await b.loop.run_once()
    await a.loop.run_once()

    assert written(database) == ["a", "b"]
    assert (a.loop.stats.holding, a.loop.stats.skipped, a.loop.stats.failures) == (False, 1, 0)
    assert b.loop.stats.holding


async def test_a_process_paused_in_a_tick_changes_nothing_when_it_wakes_late(
    database: Database, clock: Clock, run_out: Callable[[], None]
) -> None:
    a, b = Process("a", database, clock), Process("b", database, clock)
    a.go.clear()
    paused = asyncio.create_task(a.loop.run_once())
    await a.entered.wait()
    run_out()
    await b.loop.run_once()

    a.go.set()
    await paused

    assert written(database) == ["b"]
    assert (a.loop.stats.failures, a.loop.stats.holding) == (1, False)
    assert "LeaseLost: a no longer holds lease rules" in (a.loop.stats.last_error or "")


async def test_after_a_gap_that_nobody_used_the_same_process_goes_on(
    database: Database, clock: Clock, run_out: Callable[[], None]
) -> None:
    a = Process("a", database, clock)
    await a.loop.run_once()
    run_out()
    await a.loop.run_once()

    assert [e.at for e in AuditStore(database).recent(10)] == [2.0, 1.0]
    assert a.loop.stats.failures == 0


async def test_closing_releases_so_that_another_need_not_wait(database: Database, clock: Clock) -> None:
    a, b = Process("a", database, clock), Process("b", database, clock)
    await a.loop.run_once()
    await a.loop.close()
    await a.loop.close()

    await b.loop.run_once()

    assert written(database) == ["a", "b"]
    assert not a.loop.stats.holding


async def test_a_long_tick_keeps_its_lease(leases: LeaseStore, clock: Clock) -> None:
    slept: list[float] = []
    renewals = 3
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > renewals:
            over.set()
            await never(seconds)

    async def tick(_lease: Lease) -> None:
        await over.wait()

    loop = LeasedLoop("rules", 5, leases, "a", 15, tick, clock, sleep=sleep)
    await loop.run_once()

    assert slept == [5.0] * 4
    assert loop.stats.holding
    assert leases.acquire("rules", "b", 15) is None


async def test_a_short_tick_needs_no_task_for_its_lease(leases: LeaseStore, clock: Clock) -> None:
    tasks: set[str] = set()

    async def tick(_lease: Lease) -> None:
        await asyncio.sleep(0)
        tasks.update(task.get_name() for task in asyncio.all_tasks())

    loop = LeasedLoop("rules", 5, leases, "a", 15, tick, clock, sleep=never)
    await loop.run_once()

    assert loop.stats.last_error is None
    assert "lease rules" not in tasks


async def test_a_lease_lost_during_a_long_tick_is_noticed(
    leases: LeaseStore, clock: Clock, run_out: Callable[[], None]
) -> None:
    lost = asyncio.Event()
    naps = 0

    async def sleep(_seconds: float) -> None:
        nonlocal naps
        naps += 1
        await asyncio.to_thread(run_out)
        asyncio.get_running_loop().call_later(0, lost.set)

    async def tick(_lease: Lease) -> None:
        await lost.wait()
        while loop.stats.holding:  # noqa: ASYNC110 - what is waited for is a property, not an event
            await asyncio.sleep(0.001)

    loop = LeasedLoop("rules", 5, leases, "a", 15, tick, clock, sleep=sleep)
    await loop.run_once()

    assert naps == 1
    assert not loop.stats.holding


async def test_an_unreachable_database_is_a_failure_and_not_a_held_lease(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = Process("a", database, clock)
    await a.loop.run_once()

    def gone(*_args: object) -> None:
        raise Unavailable("database x: connection refused")

    monkeypatch.setattr(LeaseStore, "renew", gone)
    await a.loop.run_once()
    assert (a.loop.stats.holding, a.loop.stats.failures, a.loop.stats.ticks) == (False, 1, 1)
    assert "connection refused" in str(a.loop.stats.last_error)

    monkeypatch.undo()
    await a.loop.run_once()
    assert (a.loop.stats.holding, a.loop.stats.failures, a.loop.stats.last_error) == (True, 1, None)
    assert written(database) == ["a", "a"]


async def test_closing_without_a_database_is_quiet(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = Process("a", database, clock)
    await a.loop.run_once()

    def gone(*_args: object) -> None:
        raise Unavailable("database x: connection refused")

    monkeypatch.setattr(LeaseStore, "release", gone)
    await a.loop.close()


def test_a_lease_must_outlast_the_interval(leases: LeaseStore, clock: Clock) -> None:
    async def tick(_lease: Lease) -> None: ...

    with pytest.raises(ValueError, match=r"loop rules: ttl_s \(5\) must exceed interval_s \(5\)"):
        LeasedLoop("rules", 5, leases, "a", 5, tick, clock)


def failing(*outcomes: Exception | None) -> Callable[[], Awaitable[None]]:
    left = list(outcomes)

    async def tick() -> None:
        if outcome := left.pop(0):
            raise outcome

    return tick


async def test_a_plain_loop_counts_and_times_its_turns(clock: Clock) -> None:
    async def tick() -> None:
        clock.time += 2.0

    loop = PlainLoop("scrape", 5, tick, clock)
    assert (loop.stats.leased, loop.stats.holding, loop.stats.last_started_at) == (False, True, None)
    await loop.run_once()
    await loop.close()

    assert (loop.stats.ticks, loop.stats.last_started_at, loop.stats.last_finished_at) == (1, 1000.0, 1002.0)


async def test_a_failure_is_said_once_until_it_changes_or_ends(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    oops = ZeroDivisionError("oops")
    loop = PlainLoop("x", 5, failing(oops, oops, Unavailable("database gone"), None, oops), clock)
    for _ in range(5):
        await loop.run_once()

    assert [r.getMessage() for r in caplog.records] == [
        "loop x: ZeroDivisionError: oops",
        "loop x: Unavailable: database gone",
        "loop x works again",
        "loop x: ZeroDivisionError: oops",
    ]
    assert [bool(r.exc_info) for r in caplog.records] == [True, False, False, True]
    assert (loop.stats.ticks, loop.stats.failures, loop.stats.last_error) == (5, 4, "ZeroDivisionError: oops")


async def test_a_tick_that_raises_lease_lost_gives_the_lease_up(leases: LeaseStore, clock: Clock) -> None:
    async def tick(_lease: Lease) -> None:
        raise LeaseLost("gone")

    loop = LeasedLoop("rules", 5, leases, "a", 15, tick, clock, sleep=never)
    await loop.run_once()

    assert (loop.stats.holding, loop.stats.failures) == (False, 1)


async def test_a_lease_is_renewed_only_as_often_as_it_must_be(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticked: list[float] = []
    now = [100.0]
    renewed: list[float] = []
    renew = LeaseStore.renew

    def noted(self: LeaseStore, lease: Lease, ttl_s: float) -> None:
        renewed.append(now[0])
        renew(self, lease, ttl_s)

    async def tick(lease: Lease) -> None:
        ticked.append(now[0])

    monkeypatch.setattr(LeaseStore, "renew", noted)
    store = LeaseStore(database)
    loop = LeasedLoop("rules", 1, store, "a", 15, tick, clock, never, renew_every_s=5, monotonic=lambda: now[0])
    for second in range(12):
        now[0] = 100.0 + second
        await loop.run_once()
    assert ticked == [100.0 + second for second in range(12)]
    assert renewed == [105.0, 110.0]


async def test_a_lease_that_is_taken_for_held_and_is_lost_writes_nothing(
    database: Database, clock: Clock, run_out: Callable[[], None]
) -> None:
    a, b = Process("a", database, clock), Process("b", database, clock)
    a.loop = LeasedLoop(
        "rules", 5, LeaseStore(database), "a", 15, a._tick, clock, never, renew_every_s=5, monotonic=lambda: 0.0
    )
    await a.loop.run_once()
    run_out()
    await b.loop.run_once()
    await a.loop.run_once()
    assert written(database) == ["a", "b"]
    assert (a.loop.stats.failures, a.loop.stats.holding) == (1, False)
    await a.loop.run_once()
    assert a.loop.stats.skipped == 1


def test_a_lease_must_outlive_the_time_between_two_renewals(database: Database, clock: Clock) -> None:
    async def tick(lease: Lease) -> None: ...

    with pytest.raises(ValueError, match=r"ttl_s \(15\) must exceed interval_s \(5\) \+ renew_every_s \(10\)"):
        LeasedLoop("rules", 5, LeaseStore(database), "a", 15, tick, clock, renew_every_s=10)


async def test_a_lease_whose_answer_came_too_late_is_not_acted_upon(database: Database, clock: Clock) -> None:
    seconds, ticks = [100.0], list[int]()

    class Slow(LeaseStore):
        def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
            lease = super().acquire(name, holder, ttl_s)
            seconds[0] += 13
            return lease

    async def tick(lease: Lease) -> None:
        ticks.append(lease.epoch)

    store = Slow(database, lambda: seconds[0])
    loop = LeasedLoop("rules", 1, store, "a", 15, tick, clock, never)
    await loop.run_once()
    assert (ticks, loop.stats.holding, loop.stats.skipped) == ([], False, 1)
    await loop.run_once()
    assert (ticks, loop.stats.holding) == ([1], True), "renewed, and in time"


async def test_a_machine_that_slept_asks_again_before_it_acts(
    database: Database, clock: Clock, run_out: Callable[[], None]
) -> None:
    awake, boot, ticks = [100.0], [100.0], list[int]()

    async def tick(lease: Lease) -> None:
        ticks.append(lease.epoch)

    store = LeaseStore(database, lambda: boot[0])
    options: dict[str, Any] = {"renew_every_s": 5, "monotonic": lambda: awake[0]}
    loop = LeasedLoop("rules", 1, store, "a", 15, tick, clock, never, **options)
    await loop.run_once()
    boot[0] += 3600  # time.monotonic() stands still while the machine sleeps
    run_out()
    assert LeaseStore(database).acquire("rules", "b", 15) is not None
    await loop.run_once()
    assert (ticks, loop.stats.holding) == ([1], False)


async def test_who_does_not_hold_the_lease_follows(database: Database, clock: Clock) -> None:
    turns: list[str] = []

    async def tick(lease: Lease) -> None:
        turns.append(lease.holder)

    async def follow() -> None:
        turns.append("follows")

    a = LeasedLoop("rules", 1, LeaseStore(database), "a", 15, tick, clock, never, follow=follow)
    b = LeasedLoop("rules", 1, LeaseStore(database), "b", 15, tick, clock, never, follow=follow)
    await a.run_once()
    await b.run_once()
    await a.close()
    await b.run_once()
    assert turns == ["a", "follows", "b"]
    assert b.stats.skipped == 1
