"""The control plane dies at every write of a rollout on every driver's real target. No effect is left out or doubled.

`test_rollout_strategies_crash.py` dies at one write at a time, over drivers in memory. Here the target is real, and the
control plane dies once at every write of one rollout, on the same side of each. All its objects are then made again
from the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from controlplane.rollout.model import Phase, Rollout
from tests.contract.drivers.cases import DRIVERS, NEEDS, Case
from tests.fakes.hook_server import HookServer
from tests.fakes.rollouts.strategy_world import empty_database
from tests.patience import HANG_S
from tests.scenario.driver_world import DriverWorld
from tests.scenario.test_rollout_drivers import JOINED

MOMENTS = ("start", "switch", "step", "full", "retire", "end")
BEFORE, BETWEEN, AFTER = "before writing", "between writing and sending", "after sending"
LEFT_OUT = ("nginx, sticky", "kubernetes, selector")
TARGETS = [name for name in JOINED if name not in LEFT_OUT]
"""One target of each way to write: a sticky nginx gets its file and its reloads as the other one, a selector is one
patch as a route is, and vLLM moves whole versions too."""


class Killed(Exception):
    """Simulates kill -9: no later code runs."""


class Deaths:
    """Kills the control plane once at each write of another state, on one side of the write."""

    def __init__(self, where: str) -> None:
        """`where` is "" for a control plane that does not die."""
        self.where, self.count = where, 0
        self.pending = False
        """Whether the control plane dies as soon as its orders are carried out."""
        self._dead: set[tuple[Any, ...]] = set()

    def watch(self, world: DriverWorld) -> None:
        """Watch a fresh engine's writes."""
        log: Any = world.engine._writer._log
        original: Callable[..., Any] = log.save_all

        def save(changes: Any, *rest: Any) -> Any:
            state = tuple((change.record.phase, change.record.sentence) for change in changes)
            dies = bool(self.where) and state not in self._dead
            self._dead.add(state)
            if dies and self.where == BEFORE:
                raise Killed
            saved = original(changes, *rest)
            if dies and self.where == BETWEEN:
                raise Killed
            self.pending = dies
            return saved

        log.save_all = save


class Story(NamedTuple):
    phase: Phase
    stable: str
    orders: list[tuple[str, dict[str, float], bool]]
    """Orders without immediate repetitions: a repeated order sets the same weights."""
    hooks: list[str]
    """Idempotency keys of the hooks without repetitions, without the rollout's id."""
    deaths: int


async def run(world: DriverWorld, hooks: HookServer, strategy: str, where: str, breach: bool) -> Story:
    """Run a promotion to its end. After each death the control plane starts again."""
    deaths = Deaths(where)
    started = await world.service.start("chat", "v2", strategy, actor="ann")
    deaths.watch(world)
    try:
        async with asyncio.timeout(2 * HANG_S):
            while not (await tick(world, deaths)).finished:
                if breach and (await world.latest()).moved:
                    world.breach()
                await asyncio.sleep(0.01)  # clients' requests end in real time
    except TimeoutError:
        raise AssertionError(await world.story()) from None
    latest = await world.latest()
    orders = [order for n, order in enumerate(world.orders) if n == 0 or world.orders[n - 1] != order]
    keys = [request.headers["idempotency-key"].removeprefix(started.id) for request in hooks.requests]
    stable = (await world.service.model("chat")).stable
    return Story(latest.phase, stable, orders, list(dict.fromkeys(keys)), deaths.count)


async def tick(world: DriverWorld, deaths: Deaths) -> Rollout:
    try:
        latest = await world.tick()
    except Killed:
        deaths.pending = True
    if deaths.pending:
        deaths.pending, deaths.count = False, deaths.count + 1
        await world.crash()
        deaths.watch(world)
        latest = await world.latest()
    return latest


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.needs(NEEDS[n])) if n in NEEDS else n for n in TARGETS])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async with DRIVERS[request.param](tmp_path) as made:
        if made.versions is not None:
            made.versions.stream()
        yield made
        await made.driver.close()


@pytest.mark.parametrize(
    ("strategy", "breach"),
    [("canary", False), ("canary", True), ("blue-green", False)],
    ids=["canary", "canary with a breach", "blue-green"],
)
async def test_killed_at_every_write_it_ends_the_same_with_no_effect_left_out_or_doubled(
    target: Case, tmp_path: Path, strategy: str, breach: bool
) -> None:
    steps: dict[str, Any] = {}
    if strategy == "canary" and not target.driver.capabilities.weights:
        if not breach:
            pytest.skip("it takes no weights, and its blue-green rollout is the next test")
        strategy = "blue-green"
    elif strategy == "canary":
        steps = {"steps": ["25%", "analyse 5s"], "analysis": {"interval": "5s"}}
    stories: dict[str, Story] = {}
    empty = empty_database(tmp_path / "empty.db")
    for where in ("", BEFORE, BETWEEN, AFTER):
        async with HookServer() as hooks:
            folder = tmp_path / (where or "undisturbed")
            folder.mkdir()
            called = [{"name": f"at-{moment}", "at": moment, "url": hooks.url} for moment in MOMENTS]
            rollout = {**steps, "hooks": called, "rollback_window": "5s"}
            async with DriverWorld(target, folder, rollout, empty) as world:
                stories[where] = story = await run(world, hooks, strategy, where, breach)
                await world.only("v1" if breach else "v2")
                await world.reset()
            assert world.crowd.faults == [], where
            if where:
                assert story[:-1] == stories[""][:-1], where
                assert story.deaths >= 5, where
                assert len(hooks.requests) <= len(story.hooks) + story.deaths, where
    assert stories[""].phase is (Phase.ROLLED_BACK if breach else Phase.SUCCEEDED)
