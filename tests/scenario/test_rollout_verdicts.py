"""Canaries that are judged by looks at their numbers, as timelines of a whole rollout: second after second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from collectors.samples import Layout, Series, labels_of
from controlplane.errors import Unavailable
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import QueryValue
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.rollout.findings import Outcome, WorkKind
from controlplane.rollout.model import Phase
from controlplane.rollout.work.look import LookWorker
from controlplane.rollout.workers import Worker
from tests.fakes.gateway_world import GatewayWorld

INTERVAL_S = 10.0
ANALYSIS = {"interval": "10s", "minimum_requests": 100, "compare": ["errors"], "patience": "1m"}
STEPS = ["5%", "analyse 20s", "50%", "analyse 20s"]


class Counted:
    """The series of a gateway's counters: 1,000 requests a second, some of which fail."""

    def __init__(self, fails: Mapping[str, float]) -> None:
        self.fails, self.away = dict(fails), False
        self._totals = {(version, outcome): 0.0 for version in fails for outcome in ("success", "error")}
        self._store = SeriesStore(retention_s=1e9)
        self._engine = PromqlEngine(self._store)
        common = {"model": "chat", "source": "gateway", "instance": "gw:1"}
        labels = [{**common, "version": version, "outcome": outcome} for version, outcome in self._totals]
        self._layout = Layout(tuple(Series("llm_requests_total", labels_of(each)) for each in labels))

    def serve(self, weights: Mapping[str, int], at: float) -> None:
        """Count a second of requests, split by weights in thousandths."""
        for version, share in self.fails.items():
            got = 1000 * weights.get(version, 1000 if version == "v1" and not weights else 0) / 1000
            self._totals[version, "error"] += got * share
            self._totals[version, "success"] += got * (1 - share)
        self._store.append("gw:1", self._layout, round(at * 1000), np.array(list(self._totals.values())))

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        if self.away:
            raise Unavailable("metrics server http://p:9090: no route to host")
        return self._engine.instant(expr, at)


def judged(folder: Path, counted: Counted, steps: list[str] = STEPS, **analysis: object) -> GatewayWorld:
    def workers(made: GatewayWorld) -> Mapping[WorkKind, Worker]:
        return {WorkKind.LOOK: LookWorker(counted, made.clock.now)}

    return GatewayWorld(folder, rollout={"steps": steps, "analysis": {**ANALYSIS, **analysis}}, workers=workers)


async def second(world: GatewayWorld, counted: Counted) -> str:
    counted.serve(world.weights(), world.clock.now() + 1.0)
    return await world.tick(1.0)


async def before(world: GatewayWorld, counted: Counted) -> None:
    """Two minutes of the stable version alone."""
    for _ in range(120):
        world.clock.time += 1.0
        counted.serve({}, world.clock.now())
    await world.start(strategy="canary")


async def until_finished(world: GatewayWorld, counted: Counted, most: int = 600) -> None:
    for _ in range(most):
        await second(world, counted)
        if (await world.latest()).finished:
            return
    raise AssertionError("\n".join(await world.history()))


async def test_a_canary_that_fails_more_goes_back_after_one_interval(tmp_path: Path) -> None:
    counted = Counted({"v1": 0.01, "v2": 0.1})
    async with judged(tmp_path, counted) as world:
        await before(world, counted)
        got, back = None, None
        for _ in range(120):
            await second(world, counted)
            if world.weights().get("v2"):
                got = got or world.clock.now()
            elif got is not None:
                back = world.clock.now()
                break
        assert got is not None and back is not None, await world.history()
        rollout = await world.latest()
        assert rollout.traffic_since is not None
        assert back - rollout.traffic_since <= INTERVAL_S + 1
        await until_finished(world, counted)
        rollout = await world.latest()
        assert rollout.phase is Phase.ROLLED_BACK
        assert "v2 is worse than v1: v2 fails 10% of " in rollout.reason
        assert rollout.reason.endswith("worse by 9 points (limit 0.5)")


async def test_a_canary_like_the_stable_version_goes_all_the_way(tmp_path: Path) -> None:
    counted = Counted({"v1": 0.01, "v2": 0.01})
    async with judged(tmp_path, counted) as world:
        await before(world, counted)
        await until_finished(world, counted)
        assert (await world.latest()).phase is Phase.SUCCEEDED
        found = [state.finding for state in await world.service.findings((await world.latest()).id)]
        assert {finding.outcome for finding in found if finding} <= {Outcome.PASS, Outcome.NOT_ENOUGH}
        assert any(finding.outcome is Outcome.PASS for finding in found if finding)


async def test_a_canary_that_turns_bad_after_its_first_step_goes_back(tmp_path: Path) -> None:
    counted = Counted({"v1": 0.01, "v2": 0.01})
    async with judged(tmp_path, counted) as world:
        await before(world, counted)
        while world.weights().get("v2") != 500:
            await second(world, counted)
        counted.fails["v2"] = 0.04
        await until_finished(world, counted)
        assert (await world.latest()).phase is Phase.ROLLED_BACK


async def test_metrics_that_are_away_hold_the_canary_and_never_roll_it_back(tmp_path: Path) -> None:
    counted = Counted({"v1": 0.01, "v2": 0.01})
    async with judged(tmp_path, counted) as world:
        await before(world, counted)
        while not world.weights().get("v2"):
            await second(world, counted)
        counted.away = True
        for _ in range(120):
            await second(world, counted)
        assert world.weights() == {"v1": 950, "v2": 50}
        rollout = await world.latest()
        assert not rollout.finished and rollout.wait is not None
        counted.away = False
        for _ in range(30):
            await second(world, counted)
        look = rollout.latest_work(WorkKind.LOOK)
        assert look is not None and look.finding is not None
        assert "metrics server http://p:9090: no route to host" in look.finding.reasons[0]


async def test_a_crash_loses_no_evidence(tmp_path: Path) -> None:
    """3% of errors are found by several looks together: a crash after each of them must not begin anew."""
    counted = Counted({"v1": 0.01, "v2": 0.03})
    async with judged(tmp_path, counted, ["1%", "analyse 5m", "50%"], minimum_requests=50) as world:
        await before(world, counted)
        for n in range(400):
            await second(world, counted)
            if n % 7 == 0:
                await world.crash()
            if (await world.latest()).finished:
                break
        rollout = await world.latest()
        assert rollout.phase is Phase.ROLLED_BACK
        assert "v2 fails 3% of " in rollout.reason
