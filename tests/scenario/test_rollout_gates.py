"""Hooks, checklist and freeze windows as timelines of a whole rollout, with real receivers of hooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.handlers import works
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.work.backed_up import BackupWaiter
from controlplane.rollout.work.checks import Checks, CheckWorker
from controlplane.rollout.work.hooks import HookWorker
from controlplane.rollout.workers import Worker
from controlplane.store.backups.runs import BackupRunStore
from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.hook_server import HookServer, status
from tests.fakes.rollout_world import START
from tests.fakes.rollouts.strategy_world import StrategyWorld
from tests.unit.controlplane.metrics.conftest import load


class Series:
    """Metrics that a test changes."""

    def __init__(self) -> None:
        self.text = ""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        return load(self.text).instant(expr, 0.0)


class Content:
    """A worker of looks that finds nothing against the candidate: looks have tests of their own."""

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        return Finding(Outcome.PASS, ("nothing speaks against it",))


async def at_once(seconds: float) -> None:
    """Wait for no time: the clock of these tests is virtual."""


def world(folder: Path, series: Series | None = None, **options: Any) -> GatewayWorld:
    def workers(made: GatewayWorld) -> Mapping[WorkKind, Worker]:
        checks = Checks(series or Series(), made.planner, made.clock.now)
        waiter = BackupWaiter(BackupRunStore(made.db), made.clock.now, at_once)
        check = CheckWorker(checks, waiter)
        return {WorkKind.HOOK: HookWorker(at_once), WorkKind.CHECK: check, WorkKind.LOOK: Content()}

    return GatewayWorld(folder, workers=workers, **options)


def hook(server: HookServer, at: str, **fields: Any) -> dict[str, Any]:
    return {"name": at, "at": at, "url": server.url, **fields}


def called(server: HookServer) -> list[str]:
    return [request.json["moment"] for request in server.requests]


async def until(made: GatewayWorld, words: str, seconds: float = 5.0) -> str:
    """Tick until the sentence has `words`, and return it."""
    lines = []
    for _ in range(100):
        lines.append(await made.tick(seconds))
        if words in lines[-1]:
            return lines[-1]
    raise AssertionError("\n".join(dict.fromkeys(lines)))


MOMENTS = ("start", "switch", "step", "full", "retire", "end")


async def test_every_moment_calls_its_hook_once(tmp_path: Path) -> None:
    async with HookServer() as server:
        hooks = [hook(server, at) for at in (*MOMENTS, "rollback")]
        async with world(tmp_path, rollout={"steps": ["5%", "50%"]}, shared={"hooks": hooks}) as made:
            await made.start(strategy="")
            await made.timeline(200, 5.0)
            assert (await made.latest()).phase is Phase.SUCCEEDED
    assert called(server) == ["start", "switch", "step", "step", "full", "retire", "end"]
    assert len({request.json["idempotency_key"] for request in server.requests}) == 7
    assert [request.json["phase"] for request in server.requests][-1] == "succeeded"


async def test_a_hook_that_fails_rolls_back_before_a_client_reaches_the_candidate(tmp_path: Path) -> None:
    async with HookServer([status("409 No", b'{"message": "change freeze"}'), status("200 OK")]) as server:
        hooks = [hook(server, "switch"), hook(server, "rollback"), hook(server, "end")]
        async with world(tmp_path, rollout={"hooks": hooks}) as made:
            await made.start()
            lines = await made.timeline(100, 5.0)
            assert "hook switch failed: " in "\n".join(lines) and "change freeze" in "\n".join(lines)
            assert (await made.latest()).phase is Phase.FAILED, "no traffic had moved"
            assert made.weights().get("v2", 0) == 0
    assert called(server)[0] == "switch" and called(server)[-1] == "end"


def pausing(folder: Path, server: HookServer) -> GatewayWorld:
    return world(folder, rollout={"hooks": [hook(server, "switch", on_failure="pause")]})


async def test_a_hook_that_pauses_waits_for_an_operator(tmp_path: Path) -> None:
    async with HookServer([status("409 No"), status("200 OK")]) as server, pausing(tmp_path, server) as made:
        rollout = await made.start()
        await until(made, "hook switch failed")
        for _ in range(5):
            await made.tick(5.0)
        assert (await made.latest()).phase is Phase.PREPARING
        await made.service.resume(rollout.id, actor="bob", role="operator")
        await made.timeline(100, 5.0)
        assert (await made.latest()).phase is Phase.SUCCEEDED
    assert called(server) == ["switch"]


async def test_a_check_that_does_not_hold_ends_the_rollout_before_anything_changes(tmp_path: Path) -> None:
    series = Series()
    checklist = [{"name": "load-test", "expr": 'load_test_ok{version="{{version}}"} == 1'}]
    async with world(tmp_path, series, rollout={"checklist": checklist}) as made:
        await made.start()
        lines = await made.timeline(100, 5.0)
        assert 'load-test: load_test_ok{version="v2"} == 1 has no result now' in "\n".join(lines)
        assert ((await made.latest()).phase, made.weights()) == (Phase.FAILED, {})
        series.text = 'load_test_ok{version="v2"} 1\n'
        await made.start()
        await made.timeline(100, 5.0)
        assert (await made.latest()).phase is Phase.SUCCEEDED


def freeze(first: float, last: float) -> dict[str, Any]:
    """Return `rollouts:` with a window between two seconds after START."""
    return {"freeze": [{"name": "night", "from": _at(first), "to": _at(last)}]}


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(START + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


async def test_a_canary_gets_no_further_share_in_a_freeze_and_goes_on_after_it(tmp_path: Path) -> None:
    steps = ["5%", "pause 60s", "50%", "pause 10s"]
    async with world(tmp_path, rollout={"steps": steps}, shared=freeze(60, 600)) as made:
        await made.start(strategy="")
        await until(made, "v2 gets 5%")
        assert made.clock.time < START + 60
        line = await until(made, "freeze window night holds until")
        assert line.startswith("switching: ")
        while made.clock.time < START + 595:
            assert made.weights() == {"v1": 950, "v2": 50}
            await made.tick(5.0)
        await made.timeline(100, 5.0)
        assert (await made.latest()).phase is Phase.SUCCEEDED


async def test_a_rollout_goes_back_in_a_freeze(tmp_path: Path) -> None:
    async with world(tmp_path, rollout={"steps": ["5%", "pause"]}, shared=freeze(60, 9e4)) as made:
        rollout = await made.start(strategy="")
        await until(made, "5%")
        made.clock.time = START + 120
        await made.service.abort(rollout.id, actor="bob")
        await made.timeline(100, 5.0)
        assert ((await made.latest()).phase, made.weights()["v1"]) == (Phase.ROLLED_BACK, 1000)


async def test_a_rollout_for_which_an_admin_overrode_the_freeze_is_not_held(tmp_path: Path) -> None:
    async with world(tmp_path, rollout={"steps": ["5%"]}, shared=freeze(-60, 9e4)) as made:
        await made.start(strategy="", overrides=Overrides(override_freeze="outage 12"), role="admin")
        await made.timeline(200, 5.0)
        assert (await made.latest()).phase is Phase.SUCCEEDED
        (note,) = (await made.latest()).plan.options.notes
        assert note.startswith("ann overrode freeze window night (until ") and note.endswith("): outage 12")


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_check_that_never_answers_ends_the_rollout_before_anything_is_changed(
    tmp_path: Path, hangs: bool
) -> None:
    section = {"checklist": ["monitoring", "rollback"], "analysis": {"patience": "10m"}}
    async with StrategyWorld(tmp_path, rollout=section) as world:
        lost = Finding(Outcome.NOT_ENOUGH, ("monitoring: no answer within 10 s",))
        world.worker.outcomes[WorkKind.CHECK, "monitoring"] = lost
        world.worker.hangs = {WorkKind.CHECK} if hangs else set()
        rollout = await world.promote()
        for _ in range(60):
            assert (await world.tick(10.0)).startswith("planned: Checking the checklist")
        await world.crash()
        await world.tick(3600.0)
        latest = await world.finish(limit=20)
        said = "monitoring: no answer came; rollback: no answer came" if hangs else f"monitoring: {lost.reasons[0]}"
        words = f"the checklist could not be checked within 10 min: {said}. Nothing was changed"
        assert (latest.phase, latest.sentence) == (Phase.FAILED, words)
        assert world.driver.log == []
        kept = [s.work for s in await world.service.findings(rollout.id) if s.work.name == "monitoring"]
        assert [work.number == 1 for work in kept] == ([] if hangs else [True, False]), "the first and the latest"


async def test_a_backup_may_take_longer_than_the_patience_but_has_a_limit_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works.BACKUP_S == 86400.0
    monkeypatch.setattr(works, "BACKUP_S", 900.0)
    section = {"checklist": [{"name": "backup", "backup": "models"}], "analysis": {"patience": "10m"}}
    async with StrategyWorld(tmp_path, rollout=section) as world:
        world.worker.hangs = {WorkKind.CHECK}
        await world.promote()
        for _ in range(90):
            assert (await world.tick(10.0)).startswith("planned: Checking the checklist")
        await world.tick(10.0)
        latest = await world.finish(limit=20)
        words = "the checklist could not be checked within 15 min: backup: no answer came. Nothing was changed"
        assert (latest.phase, latest.sentence) == (Phase.FAILED, words)
