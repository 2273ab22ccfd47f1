"""The clock is watched: a step is said once, followed by all, and makes the control plane not ready for a while."""

from __future__ import annotations

import asyncio
import logging

import pytest

from controlplane.app.clock_watch import ClockWatch
from tests.fakes.machine_clock import Machine


class Rules:
    def __init__(self) -> None:
        self.steady, self.settle_s = asyncio.Lock(), 45.0


class World:
    def __init__(self, ahead_s: float = 0.0) -> None:
        self.machine, self.rules = Machine(1_767_225_600.0), Rules()  # 2026-01-01
        self.followed: list[tuple[float, float]] = []
        self.watch = ClockWatch(self.machine.clock, self.rules, [self.follow], ahead_s)

    def follow(self, by_s: float) -> None:
        self.followed.append((by_s, self.machine.now()))

    async def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.machine.elapsed += 1
            await self.watch.turn()


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (-1.0, "set back by 1.0 s"),
        (1.0, "set forward by 1.0 s"),
        (-30.0, "set back by 30 s"),
        (30.0, "set forward by 30 s"),
        (-300.0, "set back by 300 s"),
        (300.0, "set forward by 300 s"),
        (-3600.0, "set back by 3600 s"),
        (3600.0, "set forward by 3600 s"),
    ],
)
async def test_a_step_is_said_once_followed_by_all_and_not_ready_until_it_is_settled(
    by: float, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    await world.wait(10)
    assert world.watch.not_ready() == ""
    world.machine.set(by)
    await world.wait(1)
    assert world.followed == [(by, 1_767_225_611.0 + by)]
    assert f"the clock was {words} at " in world.watch.not_ready()
    assert "ready in 45 s" in world.watch.not_ready()
    await world.wait(44)
    assert "ready in 1 s" in world.watch.not_ready()
    await world.wait(1)
    assert world.watch.not_ready() == ""
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"clock: it was {words} and shows ")
    assert ("repeated time" in said) == (by < 0)
    assert len(world.followed) == 1


async def test_a_step_waits_for_who_is_in_the_middle_of_writing_times() -> None:
    world = World()
    world.machine.set(-300)
    await world.rules.steady.acquire()
    turn = asyncio.create_task(world.watch.turn())
    await asyncio.sleep(0)
    assert (world.followed, world.machine.now()) == ([], 1_767_225_600.0)
    assert world.watch.not_ready() == "the machine's clock was set just now"
    world.rules.steady.release()
    await turn
    assert world.followed == [(-300.0, 1_767_225_300.0)]


async def test_a_clock_that_creeps_is_said_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    for _ in range(20):
        world.machine.set(-0.1)
        await world.wait(60)
    assert [record.getMessage()[:20] for record in caplog.records] == ["clock: small changes"]
    assert "moved it back by 1." in caplog.text
    assert world.followed == []
    assert world.watch.not_ready() == ""
    await world.wait(3700)
    assert caplog.messages[1:] == ["clock: the small changes have stopped"]


async def test_samples_from_the_future_are_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ahead_s=3600.0)
    assert caplog.messages == [
        "clock: the newest sample is from 2026-01-01 01:00:00 UTC, but it is 2026-01-01 00:00:00 UTC now: the clock "
        "was set back by 3600 s or more while the control plane was down, or it was ahead before"
    ]
    assert "set back by 3600 s" in world.watch.not_ready()
    assert (world.machine.clock.report().back, world.followed) == (1, [])
    assert World(ahead_s=-15.0).watch.not_ready() == ""
