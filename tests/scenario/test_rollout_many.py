"""Many models that roll at once: a tick stores some of their steps, and the others lose nothing by waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.rollout.model import Evidence, Phase
from controlplane.rollout.running.turns import MOST
from controlplane.traffic.driver import EngineRefused, Placement
from tests.fakes.rollouts.memory_driver import MemoryDriver
from tests.fakes.rollouts.strategy_world import StrategyWorld

OPTIONS = {"steps": ["50%", "pause 5s"], "analysis": {"interval": "5s", "patience": "1h"}, "warm": {}}
MODELS = 5


async def start(world: StrategyWorld) -> None:
    world.helps = False
    for model in world.sections:
        await world.promote(model=model)


async def phases(world: StrategyWorld) -> set[Phase]:
    return {(await world.latest(model)).phase for model in world.sections}


async def story(folder: Path, most_steps: int) -> list[list[tuple[str, str, str, float, float]]]:
    async with StrategyWorld(folder, models=MODELS, rollout=OPTIONS, most_steps=most_steps) as world:
        await start(world)
        for _ in range(300):
            await world.tick()
            if await phases(world) == {Phase.SUCCEEDED}:
                return [driver.log for driver in world.drivers.values()]
        raise AssertionError(await phases(world))


async def test_every_model_gets_the_same_orders_whether_it_waits_for_a_turn_or_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    waited = await story(tmp_path_factory.mktemp("one"), 1)
    assert waited == await story(tmp_path_factory.mktemp("all"), MOST)
    assert all(waited)


async def test_all_go_back_in_one_tick(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, models=MODELS, rollout=OPTIONS, most_steps=1) as world:
        await start(world)
        for _ in range(100):
            await world.tick()
            rollouts = [await world.latest(model) for model in world.sections]
            if all(rollout.traffic_since is not None for rollout in rollouts):
                break
        world.evidence = Evidence(alerts=("LLMErrorRateHigh",))
        await world.tick()
        assert await phases(world) == {Phase.ROLLING_BACK}


async def test_a_reply_that_came_while_its_model_waits_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order whose reply is lost is sent again as the same attempt. So orders and attempts are equally many."""
    refused: list[str] = []

    async def refuse(driver: MemoryDriver, backend: str, placement: Placement) -> None:
        refused.append(driver.model)
        raise EngineRefused("no memory")

    monkeypatch.setattr(MemoryDriver, "place", refuse)
    async with StrategyWorld(tmp_path, models=MODELS, rollout=OPTIONS, most_steps=1) as world:
        await start(world)
        for _ in range(2 * MODELS):
            await world.tick()
        for model in world.sections:
            rollout = await world.latest(model)
            attempts = max(intent.attempt for intent in rollout.intents)
            assert refused.count(model) == attempts, (model, refused, rollout.intents)
            assert refused.count(model) > 0
