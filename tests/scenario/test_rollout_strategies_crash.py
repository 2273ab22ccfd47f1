"""The control plane dies at every write of every strategy, on either side of it, and the end is the same.

The writes are counted in an undisturbed run, so a new step or strategy is covered without a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from controlplane.rollout.findings import Finding, Outcome, WorkKind
from controlplane.rollout.model import Phase, Rollout
from controlplane.traffic.driver import Capabilities
from tests.fakes.rollouts.memory_driver import RESTARTS, SPLITS, SWAPS
from tests.fakes.rollouts.strategy_world import StrategyWorld, empty_database

MOMENTS = ("start", "switch", "step", "full", "retire", "end")
GATES: Mapping[str, Any] = {
    "hooks": [{"name": f"at-{moment}", "at": moment, "url": "http://h"} for moment in MOMENTS],
    "approvals": [{"at": "start"}, {"at": "full", "count": 2}],
    "checklist": [{"name": "docs", "attested": "http://d"}],
    "warm": {},
    "analysis": {"interval": "5s"},
    "rollback_window": "5s",
}
STEPS = ["mirror 10% 5s", "testers 5s", "5%", "analyse 5s", "50%", "pause 5s"]


class Case(NamedTuple):
    """One strategy on one kind of driver."""

    strategy: str
    capabilities: Capabilities
    backends: int
    rollout: Mapping[str, Any]
    fails: tuple[WorkKind, str] | None = None
    """The work that fails and sends the rollout back."""


CASES = {
    "canary": Case("canary", SPLITS, 1, {**GATES, "steps": STEPS}),
    "blue-green": Case("blue-green", SPLITS, 1, GATES),
    "blue-green on two servers": Case("blue-green", SWAPS, 2, {}),
    "rolling": Case("rolling", RESTARTS, 2, {"warm": {}, "analysis": {"interval": "5s"}}),
    "recreate": Case("recreate", RESTARTS, 2, {"allow_downtime": True}),
    "canary that a look sends back": Case(
        "canary", SPLITS, 1, {"steps": ["5%", "analyse 5s"], "analysis": {"interval": "5s"}}, (WorkKind.LOOK, "")
    ),
    "rolling that the warm gate sends back": Case("rolling", RESTARTS, 2, {"warm": {}}, (WorkKind.WARM, "b1")),
}
TICK_S = 5.0
"""Seconds between two ticks: as long as each wait of the cases."""
FAILED = Finding(Outcome.FAIL, ("it is worse",))


class Killed(Exception):
    """Simulates kill -9: no later code runs."""


class Deaths:
    """Counts the engine's writes, and kills it at one of them: before, after, or once all was sent."""

    def __init__(self, at: int, where: str) -> None:
        self.writes, self._at, self._where = 0, at, where
        self.pending = False
        """Whether it dies as soon as its orders are out."""

    def watch(self, world: StrategyWorld) -> None:
        """Watch the present engine's writes."""
        log: Any = world.engine._writer._log
        original: Callable[..., Any] = log.save_all

        def save(*args: Any) -> Any:
            self.writes += 1
            if self.writes == self._at and self._where == "before writing":
                raise Killed
            saved = original(*args)
            if self.writes == self._at:
                if self._where == "between writing and sending":
                    raise Killed
                self.pending = True
            return saved

        log.save_all = save


def world_of(case: Case, folder: Path, empty: Path) -> StrategyWorld:
    folder.mkdir()
    world = StrategyWorld(
        folder, capabilities=case.capabilities, backends=case.backends, rollout=case.rollout, empty=empty
    )
    if case.fails:
        world.worker.outcomes[case.fails] = FAILED
    return world


async def run(world: StrategyWorld, case: Case, deaths: Deaths) -> Rollout:
    """Run a promotion to its end. After its death the control plane starts again."""
    await world.promote(case.strategy)
    deaths.watch(world)
    for _ in range(120):
        try:
            # "after sending": the replies come, and no living process reads them.
            await world.tick(TICK_S, settle=not deaths.pending)
        except Killed:
            await world.crash()
        if deaths.pending:
            deaths.pending = False
            await world.settle()
            await world.crash()
        latest = await world.latest()
        if latest.finished:
            return latest
    raise AssertionError(f"not finished: {latest.phase}: {latest.sentence}")


class End(NamedTuple):
    phase: Phase
    verified: bool | None
    step: int
    stable: str
    previous: str | None
    servers: dict[str, tuple[dict[str, float], frozenset[str], float]]
    quarantined: list[str]
    passed: set[tuple[str, str]]
    """Kind and name of each work with a finding. Looks follow the clock, and a death costs a tick."""


async def end(world: StrategyWorld, latest: Rollout) -> End:
    status = await world.service.model("m")
    servers = {url: (s.weights, frozenset(s.loaded), s.mirror) for url, s in world.driver.servers.items()}
    found = await world.service.findings(latest.id, 1000)
    return End(
        latest.phase,
        latest.verified,
        latest.step,
        status.stable,
        status.previous,
        servers,
        [q.version for q in await world.service.quarantines()],
        {(s.work.kind.value, s.work.name) for s in found if s.work.kind is not WorkKind.LOOK},
    )


Log = list[tuple[str, str, str, float, float]]


def once(log: Log) -> dict[str, Log]:
    """Return the orders of each backend without immediate repetitions of the same order: they change nothing."""
    found: dict[str, Log] = {}
    for order in log:
        mine = found.setdefault(order[1], [])
        if not mine or mine[-1] != order:
            mine.append(order)
    return found


@pytest.mark.parametrize("where", ["before writing", "between writing and sending", "after sending"])
@pytest.mark.parametrize("name", CASES)
async def test_killed_at_each_write_it_ends_the_same_with_no_effect_left_out_or_doubled(
    tmp_path: Path, name: str, where: str
) -> None:
    case, calm, empty = CASES[name], Deaths(0, ""), empty_database(tmp_path / "empty.db")
    async with world_of(case, tmp_path / "calm", empty) as world:
        expected = await end(world, await run(world, case, calm))
        orders, hooks = world.driver.log, [done for done in world.worker.done if done[0] is WorkKind.HOOK]
    assert expected.phase is (Phase.ROLLED_BACK if case.fails else Phase.SUCCEEDED)
    assert calm.writes >= 4
    for at in range(1, calm.writes + 1):
        async with world_of(case, tmp_path / f"{where} {at}", empty) as world:
            latest = await run(world, case, Deaths(at, where))
            said = f"{name}: killed {where}, write {at} of {calm.writes}"
            assert await end(world, latest) == expected, said
            assert once(world.driver.log) == once(orders), said
            assert len(world.driver.log) <= len(orders) + case.backends, said
            assert world.driver.unready_served == [], said
            called = [done for done in world.worker.done if done[0] is WorkKind.HOOK]
            assert list(dict.fromkeys(called)) == hooks, said
            assert len(called) <= len(hooks) + 1, f"{said}: a hook was called again after its finding was stored"
