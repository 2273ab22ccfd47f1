"""The timer: at once, one at a time, woken when there is news, closed in order. Events decide here, never durations."""

from __future__ import annotations

import asyncio
from typing import Protocol

import pytest

from controlplane.schedule import LeasedLoop, Loops, PlainLoop
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore
from tests.patience import until


class Clock(Protocol):
    def now(self) -> float: ...


HOURLY = 3600.0


async def test_each_loop_runs_at_once(clock: Clock) -> None:
    ran: list[str] = []

    def noting(name: str) -> PlainLoop:
        async def tick() -> None:
            ran.append(name)

        return PlainLoop(name, HOURLY, tick, clock)

    loops = Loops()
    loops.add(noting("a"))
    loops.start()
    loops.add(noting("b"))
    await until(lambda: len(ran) == 2)
    await loops.close()

    assert sorted(ran) == ["a", "b"]
    assert [(s.name, s.ticks) for s in loops.stats()] == [("a", 1), ("b", 1)]
    with pytest.raises(ValueError, match="named a already"):
        loops.add(noting("a"))


async def test_a_slow_turn_is_never_overlapped_and_holds_up_nobody(clock: Clock) -> None:
    at_once = 0
    most = 0
    go = asyncio.Event()

    async def slow() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go.wait()
        at_once -= 1

    async def quick() -> None: ...

    loops = Loops()
    slow_loop, quick_loop = PlainLoop("slow", 0.01, slow, clock), PlainLoop("quick", 0.01, quick, clock)
    loops.add(slow_loop)
    loops.add(quick_loop)
    loops.start()
    await until(lambda: slow_loop.stats.overruns >= 2 and quick_loop.stats.ticks >= 2)
    assert slow_loop.stats.ticks == 1
    go.set()
    await until(lambda: slow_loop.stats.ticks >= 2)
    await loops.close()

    assert most == 1


async def test_a_failing_turn_does_not_end_its_loop(clock: Clock) -> None:
    async def tick() -> None:
        raise ZeroDivisionError

    loop = PlainLoop("x", 0.01, tick, clock)
    loops = Loops()
    loops.add(loop)
    loops.start()
    await until(lambda: loop.stats.failures >= 3)
    assert loop.stats.last_error == "ZeroDivisionError: "
    await loops.close()


async def test_news_wakes_a_loop_that_waits(clock: Clock) -> None:
    async def tick() -> None: ...

    loop = PlainLoop("outbox", HOURLY, tick, clock)
    loops = Loops()
    loops.add(loop)
    loops.start()
    await until(lambda: loop.stats.last_finished_at is not None)
    loops.wake("outbox")
    await until(lambda: loop.stats.ticks == 2)
    await loops.close()

    loops.wake("outbox")
    with pytest.raises(KeyError):
        loops.wake("nobody")


async def test_a_turn_may_be_asked_for_sooner_and_never_later(clock: Clock) -> None:
    ends: list[float] = []
    loop_now = asyncio.get_running_loop().time

    async def tick() -> None:
        ends.append(loop_now())
        if len(ends) == 1:
            loops.wake("dispatch", HOURLY + 1)  # no later than it is due anyway
            loops.wake("dispatch", 0.02)  # from within its own turn: for the next one
            loops.wake("dispatch", 0.5)  # what was asked for sooner stays

    loop = PlainLoop("dispatch", HOURLY, tick, clock)
    loops = Loops()
    loops.add(loop)
    loops.start()
    await until(lambda: loop.stats.ticks == 2)
    await loops.close()

    assert len(ends) == 2
    assert ends[1] - ends[0] >= 0.02


async def test_news_during_a_turn_is_not_lost(clock: Clock) -> None:
    go = asyncio.Event()
    turns = 0

    async def tick() -> None:
        nonlocal turns
        turns += 1
        await go.wait()

    loops = Loops()
    loops.add(PlainLoop("outbox", HOURLY, tick, clock))
    loops.start()
    await until(lambda: turns == 1)
    loops.wake("outbox")
    loops.wake("outbox")
    go.set()
    await until(lambda: turns == 2)
    await loops.close()

    assert turns == 2


async def test_a_turn_that_was_asked_for_follows_one_that_lasts_longer(clock: Clock) -> None:
    go = asyncio.Event()

    async def tick() -> None:
        await go.wait()

    loop = PlainLoop("alerting", HOURLY, tick, clock)
    loops = Loops()
    loops.add(loop)
    loops.start()
    await until(lambda: loop.stats.ticks == 1)
    loops.wake("alerting", 0.01)
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, passed.set)
    await passed.wait()
    go.set()
    await until(lambda: loop.stats.ticks == 2)
    await loops.close()

    assert loop.stats.overruns == 0


async def test_a_turn_that_shortens_its_interval_is_followed_sooner(clock: Clock) -> None:
    async def tick() -> None:
        loop.interval_s = HOURLY if loop.stats.ticks > 2 else 0.01

    loop = PlainLoop("rollouts", HOURLY, tick, clock)
    loops = Loops()
    loops.add(loop)
    loops.start()
    await until(lambda: loop.stats.ticks == 3)
    await loops.close()


async def test_closing_lets_a_turn_finish_then_releases_the_lease(clock: Clock, leases: LeaseStore) -> None:
    go, entered = asyncio.Event(), asyncio.Event()
    finished: list[int] = []

    async def tick(lease: Lease) -> None:
        entered.set()
        await go.wait()
        finished.append(lease.epoch)

    loops = Loops()
    loops.add(LeasedLoop("rules", HOURLY, leases, "a", HOURLY + 1, tick, clock))
    loops.start()
    await entered.wait()
    closing = asyncio.create_task(loops.close())
    await asyncio.sleep(0)
    go.set()
    await closing

    assert finished == [1]
    assert leases.acquire("rules", "b", 10) is not None


async def test_closing_cancels_a_turn_that_does_not_finish(
    clock: Clock, leases: LeaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    entered = asyncio.Event()

    async def tick(_lease: Lease) -> None:
        entered.set()
        await asyncio.Event().wait()

    loops = Loops(grace_s=0)
    loops.add(LeasedLoop("rules", HOURLY, leases, "a", HOURLY + 1, tick, clock))
    loops.start()
    await entered.wait()
    await loops.close()

    assert leases.acquire("rules", "b", 10) is not None
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_closing_what_was_never_started_is_quiet(clock: Clock) -> None:
    async def tick() -> None: ...

    loops = Loops()
    loops.add(PlainLoop("x", HOURLY, tick, clock))
    await loops.close()


async def test_it_knows_which_leases_this_process_holds(database: Database, clock: Clock) -> None:
    store = LeaseStore(database)

    async def tick(_lease: Lease | None = None) -> None: ...

    loops = Loops()
    assert store.acquire("taken", "another", 15)
    mine, taken = (LeasedLoop(name, 1, store, "me", 15, tick, clock) for name in ("mine", "taken"))
    for loop in (mine, taken, PlainLoop("plain", 1, tick, clock)):
        loops.add(loop)
        await loop.run_once()
    assert loops.leases() == {"mine": True, "taken": False}
    await loops.close()
    assert loops.leases() == {"mine": False, "taken": False}


async def test_a_loop_that_cannot_close_keeps_no_other_from_closing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    class Stubborn(PlainLoop):
        async def close(self) -> None:
            closed.append(self.name)
            if self.name == "a":
                raise RuntimeError("no room")

    async def tick() -> None: ...

    loops = Loops()
    for name in ("a", "b"):
        loops.add(Stubborn(name, HOURLY, tick, clock))
    loops.start()
    await loops.close()

    assert closed == ["a", "b"]
    assert "loop a did not close: RuntimeError: no room" in caplog.text
