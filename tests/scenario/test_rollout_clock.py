"""A gap or a step of the clock moves the times of each rollout once, whatever becomes of the writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.rollout.model import StepKind
from controlplane.store.rollout_rows.saving import StepChange
from tests.fakes.rollouts.strategy_world import StrategyWorld

MODELS = ("m", "m1", "m2")
PAUSE_S = 30


async def pauses(folder: Path) -> StrategyWorld:
    """Return a world whose three models are in a pause, ten seconds after its beginning."""
    world = StrategyWorld(folder, rollout={"steps": ["5%", f"pause {PAUSE_S}s"]}, models=len(MODELS))
    await world.__aenter__()
    for model in MODELS:
        await world.promote(model=model)
    while not all([await pausing(world, model) for model in MODELS]):
        await world.tick()
    for _ in range(9):
        await world.tick()
    return world


async def pausing(world: StrategyWorld, model: str) -> bool:
    latest = await world.latest(model)
    return latest.plan.steps[latest.step].kind is StepKind.PAUSE


async def ends(world: StrategyWorld) -> dict[str, int]:
    """Return after how many further ticks, a second each, the pause of each model ends."""
    found: dict[str, int] = {}
    for number in range(1, 3 * PAUSE_S):
        await world.tick()
        for model in MODELS:
            if model not in found and not await pausing(world, model):
                found[model] = number
    return found


class Broken:
    """Writes that fail during one tick."""

    def __init__(self, world: StrategyWorld, what: str) -> None:
        self._what, self._log, self.failed = what, world.engine._log, 0
        self._save: Callable[..., Any] = self._log.save_all
        self._observe: Callable[..., Any] = self._log.observed_all
        log: Any = self._log
        log.save_all, log.observed_all = self._save_all, self._observed_all

    def mend(self) -> None:
        """Let writes succeed again."""
        log: Any = self._log
        log.save_all, log.observed_all = self._save, self._observe

    def _save_all(self, changes: Sequence[StepChange], *rest: Any) -> Any:
        if self._what == "one step of three" and any(change.record.model == "m1" for change in changes):
            self.failed += 1
            raise ValueError("no such thing can be stored")
        if self._what == "every step":
            self.failed += 1
            raise Unavailable("the database is away")
        saved = self._save(changes, *rest)
        if self._what == "the reply to each step":
            self.failed += 1
            raise Unavailable("the connection was lost")
        return saved

    def _observed_all(self, *args: Any) -> None:
        if self._what == "the observations":
            self.failed += 1
            raise Unavailable("the database is away")
        self._observe(*args)
        if self._what == "the reply to the observations":
            self.failed += 1
            raise Unavailable("the connection was lost")


FAULTS = (
    "one step of three",
    "every step",
    "the reply to each step",
    "the observations",
    "the reply to the observations",
)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("jump", ["gap", "forward", "back"])
async def test_a_write_that_fails_neither_loses_nor_doubles_a_move(
    tmp_path: Path, jump: str, fault: str, times: int
) -> None:
    world = await pauses(tmp_path)
    try:
        by_s = -3600.0 if jump == "back" else 3600.0
        world.clock.time += by_s
        if jump != "gap":
            world.engine.clock_was_set(by_s)
        broken = Broken(world, fault)
        for _ in range(times):
            with contextlib.suppress(Unavailable, ValueError):
                await world.tick(0.0)
        broken.mend()
        assert broken.failed >= 1
        # A second that no process could note as watched counts for no pause.
        late = {"one step of three": ("m1",), "every step": MODELS}.get(fault, ()) if jump == "gap" else ()
        assert await ends(world) == {model: PAUSE_S - 9 + (model in late) for model in MODELS}
    finally:
        await world.__aexit__()


async def test_a_gap_counts_once_where_the_process_dies_before_it_notes_the_observation(tmp_path: Path) -> None:
    world = await pauses(tmp_path)
    try:
        for _ in range(3):
            world.clock.time += 3600.0
            broken = Broken(world, "the observations")
            with pytest.raises(Unavailable):
                await world.tick(0.0)
            broken.mend()
            await world.crash()
        assert await ends(world) == dict.fromkeys(MODELS, PAUSE_S - 9)
    finally:
        await world.__aexit__()


async def test_two_steps_of_the_clock_while_nothing_can_be_written_are_both_followed(tmp_path: Path) -> None:
    world = await pauses(tmp_path)
    try:
        broken = Broken(world, "every step")
        for by_s in (3600.0, -7200.0):
            world.clock.time += by_s
            world.engine.clock_was_set(by_s)
            with pytest.raises(Unavailable):
                await world.tick(0.0)
        broken.mend()
        assert await ends(world) == dict.fromkeys(MODELS, PAUSE_S - 9)
    finally:
        await world.__aexit__()


async def test_a_rollout_that_began_after_the_clock_was_set_is_not_moved(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", f"pause {PAUSE_S}s"]}, models=3) as world:
        await world.promote(model="m1")
        await world.engine.tick(world.clock.now())
        world.clock.time += 3600.0
        world.engine.clock_was_set(3600.0)
        broken = Broken(world, "one step of three")
        with pytest.raises(ValueError, match="no such thing"):
            await world.engine.tick(world.clock.now())
        begun = await world.promote(model="m")
        broken.mend()
        await world.tick()
        latest = await world.latest("m")
        assert (latest.clock_step, latest.phase_at) == ("", world.clock.now())
        assert begun.created_at == world.clock.now() - 1
        assert (await world.latest("m1")).clock_step != ""
