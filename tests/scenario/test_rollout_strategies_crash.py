"""The control plane dies at every write of every strategy, on either side of it, and the end is the same.

What a death at each write leaves is copied in an undisturbed run: the database, the engines, and what the workers did.
A new control plane goes on from each copy. So a new step or strategy is covered without a change here, and no run
repeats what came before its death.
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
from tests.fakes.rollouts.strategy_world import Snapshot, StrategyWorld, empty_database

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


class Deaths:
    """Keeps what would be left if the control plane died at a write, on one side of it, for each write of a run."""

    def __init__(self, where: str, folder: Path) -> None:
        self.left: list[Snapshot] = []
        self._where, self._folder = where, folder
        self._sends = False
        """Whether a write was made whose orders are not all out."""

    def watch(self, world: StrategyWorld) -> None:
        """Watch the engine's writes."""
        log: Any = world.engine._writer._log
        original: Callable[..., Any] = log.save_all

        def save(*args: Any) -> Any:
            if self._where == "before writing":
                self._keep(world)
            saved = original(*args)
            if self._where == "between writing and sending":
                self._keep(world)
            self._sends = True
            return saved

        log.save_all = save

    def sent(self, world: StrategyWorld) -> None:
        """Note that all orders are out. The replies came, and a control plane that dies now has read none of them."""
        if self._sends and self._where == "after sending":
            self._keep(world)
        self._sends = False

    def _keep(self, world: StrategyWorld) -> None:
        self.left.append(world.snapshot(self._folder / f"{self._where} {len(self.left) + 1}.db"))


def world_of(case: Case, folder: Path, empty: Path) -> StrategyWorld:
    folder.mkdir()
    world = StrategyWorld(
        folder, capabilities=case.capabilities, backends=case.backends, rollout=case.rollout, empty=empty
    )
    if case.fails:
        world.worker.outcomes[case.fails] = FAILED
    return world


async def run(world: StrategyWorld, each: Callable[[StrategyWorld], None] = lambda world: None) -> Rollout:
    """Tick until the newest rollout has ended. `each` is called after each tick, when all that it sent was answered."""
    latest = await world.latest()
    for _ in range(120):
        if latest.finished:
            return latest
        await world.help(latest)
        await world.advance(TICK_S)
        await world.settle()
        each(world)
        latest = await world.latest()
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
    case, empty, deaths = CASES[name], empty_database(tmp_path / "empty.db"), Deaths(where, tmp_path)
    async with world_of(case, tmp_path / "calm", empty) as world:
        await world.promote(case.strategy)
        deaths.watch(world)
        expected = await end(world, await run(world, deaths.sent))
        orders, hooks = world.driver.log, [done for done in world.worker.done if done[0] is WorkKind.HOOK]
    assert expected.phase is (Phase.ROLLED_BACK if case.fails else Phase.SUCCEEDED)
    assert len(deaths.left) >= 4
    for at, left in enumerate(deaths.left, start=1):
        async with world_of(case, tmp_path / f"{where} {at}", empty).resume(left) as world:
            latest = await run(world)
            said = f"{name}: killed {where}, write {at} of {len(deaths.left)}"
            assert await end(world, latest) == expected, said
            assert once(world.driver.log) == once(orders), said
            assert len(world.driver.log) <= len(orders) + case.backends, said
            assert world.driver.unready_served == [], said
            called = [done for done in world.worker.done if done[0] is WorkKind.HOOK]
            assert list(dict.fromkeys(called)) == hooks, said
            assert len(called) <= len(hooks) + 1, f"{said}: a hook was called again after its finding was stored"
