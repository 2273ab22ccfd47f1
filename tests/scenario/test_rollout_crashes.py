"""The control plane is killed at every step of a rollout, and finishes it from the state in the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.rollout.model import Phase
from tests.fakes.rollout_world import World, asking

WRITES_OF_A_PROMOTION = 7
WRITES_OF_A_FAILURE = 4


class Killed(Exception):
    """Simulates kill -9: no later code runs."""


def kill_at(world: World, save: int, *, written: bool) -> None:
    """Kill the control plane at its n-th write: before the write, or after it and before the verb runs."""
    log: Any = world.engine._writer._log
    original: Callable[..., Any] = log.save_all
    count = 0

    def kill(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == save and not written:
            raise Killed
        saved = original(*args)
        if count == save:
            raise Killed
        return saved

    log.save_all = kill


async def outcome(world: World) -> tuple[Any, ...]:
    latest = await world.latest()
    status = await world.service.model("model")
    servers = tuple((server.serving, dict(server.states)) for server in world.servers)
    return latest.phase, latest.sentence, status.stable, status.previous, servers, await world.phases()


async def run(world: World) -> None:
    await world.promote()
    await world.finish()


async def writes(world: World) -> int:
    """Return the number of the engine's writes: one for each tick that changed the rollout."""
    view = await world.service.show((await world.latest()).id)
    return len({event.at for event in view.events}) - 1  # the first is the service's


async def test_the_numbers_of_writes_that_the_next_tests_go_through(tmp_path: Path) -> None:
    for name in ("success", "failure"):
        (tmp_path / name).mkdir()
    async with World(tmp_path / "success", backends=2) as world:
        await run(world)
        assert await writes(world) == WRITES_OF_A_PROMOTION
    async with World(tmp_path / "failure", backends=2) as world:
        world.servers[1].fails[2] = "Internal: weights are corrupt"
        await run(world)
        assert await writes(world) == WRITES_OF_A_FAILURE


async def test_killed_after_every_tick_before_any_reply_was_noted(tmp_path: Path) -> None:
    async with World(tmp_path, backends=2) as world:
        await world.promote()
        for _ in range(60):
            await world.tick()
            await world.crash()
            if (await world.latest()).finished:
                break
        phase, _, stable, previous, servers, _ = await outcome(world)
        assert (phase, stable, previous) == (Phase.SUCCEEDED, "v2", "v1")
        assert [serving for serving, _ in servers] == [2, 2]
        for server in world.servers:
            assert server.loads[0] == [1, 2]
            assert server.loads == sorted(server.loads, key=len, reverse=True), "it never went back"


@pytest.mark.parametrize("written", [False, True], ids=["before writing", "between writing and acting"])
@pytest.mark.parametrize("save", range(1, WRITES_OF_A_PROMOTION + 1))
async def test_killed_at_one_write_of_a_promotion(tmp_path: Path, save: int, written: bool) -> None:
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    async with (
        World(tmp_path / "undisturbed", backends=2) as undisturbed,
        World(tmp_path / "killed", backends=2) as world,
    ):
        await run(undisturbed)
        await world.promote()
        kill_at(world, save, written=written)
        with pytest.raises(Killed):
            for _ in range(60):
                await world.tick()
                assert not (await world.latest()).finished
        await world.crash()
        if not (await world.latest()).finished:
            await world.finish()
        assert await outcome(world) == await outcome(undisturbed)
        assert [s.loads for s in world.servers] == [s.loads for s in undisturbed.servers], "each order was sent once"


@pytest.mark.parametrize("written", [False, True], ids=["before writing", "between writing and acting"])
@pytest.mark.parametrize("save", range(1, WRITES_OF_A_FAILURE + 1))
async def test_killed_at_one_write_of_a_rollout_that_fails(tmp_path: Path, save: int, written: bool) -> None:
    async with World(tmp_path, backends=2) as world:
        world.servers[1].fails[2] = "Internal: weights are corrupt"
        await world.promote()
        kill_at(world, save, written=written)
        with pytest.raises(Killed):
            for _ in range(60):
                await world.tick()
                assert not (await world.latest()).finished
        await world.crash()
        if not (await world.latest()).finished:
            await world.finish()
        phase, sentence, stable, previous, servers, _ = await outcome(world)
        assert (phase, stable, previous) == (Phase.ROLLED_BACK, "v1", None)
        assert "weights are corrupt" in sentence
        assert [serving for serving, _ in servers] == [1, 1]


async def test_killed_while_a_load_is_out_finds_it_loading_and_does_not_repeat_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.triton.hold_loads()
        await world.promote()
        await world.tick(settle=False)
        assert await world.tick(settle=False) == "preparing: v2 is loading on A; v1 serves meanwhile"
        await world.crash()
        for _ in range(3):
            assert await world.tick(settle=False) == "preparing: v2 is loading on A; v1 serves meanwhile"
        world.triton.finish_loads()
        assert (await world.finish()).ok is True
        assert world.triton.loads == [[1, 2], [2]]


@pytest.mark.parametrize("bad", [False, True], ids=["a good candidate", "a bad candidate"])
async def test_killed_at_every_write_of_a_rollout_whose_candidate_is_asked(tmp_path: Path, bad: bool) -> None:
    """Questions whose answers were not written are sent again. The result is the same after a kill at any write."""
    end = Phase.ROLLED_BACK if bad else Phase.SUCCEEDED
    deaths = 0
    for save in range(1, 20):
        folder = tmp_path / str(save)
        folder.mkdir()
        async with World(folder, verification=asking(2)) as world:
            world.triton.raises = {2: "Boom"} if bad else {}
            await world.promote()
            kill_at(world, save, written=save % 2 == 0)
            try:
                await world.finish()
            except Killed:
                deaths += 1
                await world.crash()
                await world.tick()
            latest = await world.latest()
            if not latest.finished:
                latest = await world.finish()
            assert (latest.phase, latest.verified) == (end, None if bad else True)
            assert world.triton.serving == (1 if bad else 2)
            assert len(world.told()) == 2, "it began and it ended, each told once"
    assert deaths >= (4 if bad else 7)
