"""Requests of operators while the clock is set or nobody watches: none is lost, none counts twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.rollout.findings import Finding, Outcome, WorkKind
from controlplane.rollout.model import Phase
from controlplane.rollout.wishes import WishVerb
from tests.fakes.rollouts.strategy_world import StrategyWorld

LOOKS = {"analysis": {"interval": "5s", "patience": "20s", "failures": 1}}
HOOKS = {"hooks": [{"name": name, "at": "switch", "url": "http://h", "on_failure": "pause"} for name in ("one", "two")]}
FAILED, NOTHING = Finding(Outcome.FAIL, ("status 500",)), Finding(Outcome.NOT_ENOUGH, ("12 requests are missing",))


async def until(world: StrategyWorld, words: str, limit: int = 60) -> str:
    for _ in range(limit):
        line = await world.tick()
        if words in line:
            return line
    raise AssertionError(f"no {words!r} within {limit} ticks; last: {line}")


async def nothing(world: StrategyWorld) -> None:
    """The control plane goes on."""


async def away(world: StrategyWorld) -> None:
    """Nobody watches for an hour."""
    world.clock.time += 3600.0


async def dead(world: StrategyWorld) -> None:
    """The control plane is dead for an hour."""
    await world.crash()
    world.clock.time += 3600.0


def clock(by_s: float) -> Callable[[StrategyWorld], Any]:
    async def moved(world: StrategyWorld) -> None:
        world.clock.time += by_s
        world.engine.clock_was_set(by_s)

    return moved


def dead_and_set(by_s: float) -> Callable[[StrategyWorld], Any]:
    async def moved(world: StrategyWorld) -> None:
        await world.crash()
        world.clock.time += by_s

    return moved


DISTURBANCES = {
    "nothing": nothing,
    "nobody watched for an hour": away,
    "dead for an hour": dead,
    "the clock is set forward": clock(3600.0),
    "the clock is set back": clock(-3600.0),
    "dead while the clock is set back": dead_and_set(-3600.0),
}


@pytest.fixture(params=[*DISTURBANCES.values()], ids=[*DISTURBANCES])
def disturbed(request: pytest.FixtureRequest) -> Callable[[StrategyWorld], Any]:
    """Something that happens to the clock or to the control plane."""
    return request.param  # type: ignore[no-any-return]


async def test_a_resume_of_a_timed_pause_ends_it(tmp_path: Path, disturbed: Callable[[StrategyWorld], Any]) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 600s"]}) as world:
        world.helps = False
        rollout = await world.promote()
        await until(world, "pausing for 10 min")
        await world.service.resume(rollout.id, actor="bob")
        await disturbed(world)
        assert "Sending requests to v2" in await world.tick()


async def test_a_resume_of_a_wait_for_data_ends_it(tmp_path: Path, disturbed: Callable[[StrategyWorld], Any]) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "analyse 5s"], **LOOKS}) as world:
        world.helps = False
        world.worker.outcomes[WorkKind.LOOK, ""] = NOTHING
        rollout = await world.promote()
        await until(world, "cp rollouts resume")
        await world.service.resume(rollout.id, actor="bob")
        await disturbed(world)
        assert "Sending requests to v2" in await world.tick()


async def test_a_resume_answers_the_hook_that_failed_and_no_other(
    tmp_path: Path, disturbed: Callable[[StrategyWorld], Any]
) -> None:
    async with StrategyWorld(tmp_path, rollout=HOOKS) as world:
        world.helps = False
        world.worker.outcomes.update({(WorkKind.HOOK, name): FAILED for name in ("one", "two")})
        rollout = await world.promote()
        await until(world, "hook one failed")
        for _ in range(2):
            await world.service.resume(rollout.id, actor="bob")
        await disturbed(world)
        line = await until(world, "hook two failed", limit=3)
        assert "cp rollouts resume" in line
        for _ in range(5):
            assert "hook two failed" in await world.tick(), "the answer to the first hook is none to the second"
        for _ in range(2):
            await world.service.resume(rollout.id, actor="bob")
        await disturbed(world)
        assert (await world.finish()).ok is True
        wishes = (await world.service.show(rollout.id)).rollout.wishes
        assert [(wish.verb, wish.ends) for wish in wishes] == [
            (WishVerb.RESUME, "hook one"),
            (WishVerb.RESUME, "hook two"),
        ], "each repeated request changed nothing"


async def test_a_pause_holds_and_its_resume_ends_it(tmp_path: Path, disturbed: Callable[[StrategyWorld], Any]) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 60s"]}) as world:
        world.helps = False
        rollout = await world.promote()
        await until(world, "pausing for 1 min")
        await world.service.pause(rollout.id, actor="eve")
        await disturbed(world)
        for _ in range(100):
            assert "Paused by eve" in await world.tick()
        await world.service.resume(rollout.id, actor="eve")
        await world.service.resume(rollout.id, actor="eve")
        await disturbed(world)
        assert "Sending requests to v2" in await until(world, "Sending requests", limit=60)
        assert len((await world.service.show(rollout.id)).rollout.wishes) == 2


async def test_approvals_full_and_abort_are_read_once(
    tmp_path: Path, disturbed: Callable[[StrategyWorld], Any]
) -> None:
    section = {"steps": ["5%", "pause", "10%", "pause 1h"], "approvals": [{"at": "switch", "count": 2}]}
    async with StrategyWorld(tmp_path, rollout=section) as world:
        world.helps = False
        rollout = await world.promote()
        await until(world, "Waiting for 2 approvals")
        await world.service.approve(rollout.id, actor="bob")
        await disturbed(world)
        assert "1 approval by role operator, so far bob" in await world.tick()
        await world.service.approve(rollout.id, actor="bob")
        assert "1 approval by role operator, so far bob" in await world.tick(), "one person counts once"
        await world.service.approve(rollout.id, actor="eve")
        await disturbed(world)
        await until(world, "pausing until it is approved", limit=10)
        await world.service.full(rollout.id, actor="bob")
        await disturbed(world)
        await until(world, "verifying", limit=10)
        await world.service.abort(rollout.id, actor="eve")
        await disturbed(world)
        assert (await world.finish()).phase is Phase.ROLLED_BACK
        assert [share for verb, _, v, share, _ in world.driver.log if (verb, v) == ("place", "v2")] == [0.0, 0.05, 1.0]


async def test_a_clock_that_was_set_back_while_nobody_ran_prolongs_no_pause(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 20s"]}) as world:
        world.helps = False
        await world.promote()
        await until(world, "pausing for 20 s")
        await dead_and_set(-3600.0)(world)
        await until(world, "Sending requests to v2", limit=25)
