"""A rollback is possible whenever its target can take traffic, whatever would speak against a promotion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Refused
from tests.fakes.rollouts.memory_driver import RESTARTS, SPLITS, SWAPS
from tests.fakes.rollouts.strategy_world import StrategyWorld

STEPS = {"steps": ["5%", "pause 5s"]}


async def promoted(world: StrategyWorld, strategy: str = "", **options: Any) -> None:
    await world.promote(strategy, **options)
    assert (await world.finish()).ok is True


async def test_what_speaks_against_a_promotion_is_a_note_of_a_rollback_by_weights(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, capabilities=SPLITS, rollout=STEPS) as world:
        await promoted(world)
        world.driver.refuses = ("5% cannot be set: the proxy is set up for 0 and 100 %", "v1 is not ready on a")
        world.driver.loading = {"v3"}
        with pytest.raises(Refused, match="5% cannot be set"):
            await world.service.plan("m", "v3")
        rollback = await world.service.rollback("m", actor="eve")
        assert rollback.plan.notes[:3] == (
            "not needed for the way back: b0 is still loading v3 (v2 serves); wait until it is done",
            "not needed for the way back: 5% cannot be set: the proxy is set up for 0 and 100 %",
            "not needed for the way back: v1 is not ready on a",
        )
        assert (await world.finish()).ok is True
        assert world.driver.servers["b0"].weights == {"v1": 1.0}


async def test_a_target_that_cannot_take_traffic_is_refused_with_the_drivers_reasons(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, capabilities=SPLITS, rollout=STEPS) as world:
        await promoted(world)
        world.driver.refuses = ("v1 is not ready on a",)
        world.driver.servers["b0"].loaded.discard("v1")
        with pytest.raises(Refused, match="v1 is not ready on a"):
            await world.service.rollback("m", actor="eve")


async def test_a_driver_that_must_load_its_versions_still_refuses(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, capabilities=SWAPS) as world:
        await promoted(world)
        world.driver.refuses = ("the directory of v1 is missing",)
        with pytest.raises(Refused, match="the directory of v1 is missing"):
            await world.service.rollback("m", actor="eve")


async def test_servers_that_restart_go_back_one_after_another(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, capabilities=RESTARTS, backends=2) as world:
        await promoted(world, "rolling")
        rollback = await world.service.rollback("m", actor="eve")
        assert rollback.plan.strategy == "rolling"
        assert (await world.finish()).ok is True
