"""Rollouts with gates, pauses and people, second by second: what an operator reads, and what the world gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import Conflict, Forbidden, NotFound, Refused
from controlplane.rollout.findings import Finding, Outcome, Sample, WorkKind
from controlplane.rollout.model import Evidence, Phase
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.store.audit import AuditStore
from tests.fakes.rollouts.memory_driver import RESTARTS, SWAPS
from tests.fakes.rollouts.strategy_world import StrategyWorld

LOOKS = {"analysis": {"interval": "5s", "patience": "20s", "failures": 1}}


def finding(outcome: Outcome, *reasons: str, metric: str = "ttft") -> Finding:
    sample = Sample(metric, "seconds", 1.0, 0.5, 200, 200, outcome=outcome)
    return Finding(outcome, reasons, (sample,))


async def lines(world: StrategyWorld, ticks: int, seconds: float = 1.0) -> list[str]:
    """Return the sentences of some ticks, each once."""
    said: list[str] = []
    for _ in range(ticks):
        line = await world.tick(seconds)
        said += [line] if not said or said[-1] != line else []
    return said


async def until(world: StrategyWorld, words: str, limit: int = 60, seconds: float = 1.0) -> str:
    for _ in range(limit):
        line = await world.tick(seconds)
        if words in line:
            return line
    raise AssertionError(f"no {words!r} within {limit} ticks; last: {line}")


async def test_a_canary_goes_through_its_shares_and_keeps_the_old_version_for_its_window(tmp_path: Path) -> None:
    rollout = {"steps": ["5%", "analyse 5s", "50%", "pause 3s"], "rollback_window": "10s", **LOOKS}
    async with StrategyWorld(tmp_path, rollout=rollout) as world:
        await world.promote()
        said = await lines(world, 45)
        shares = [share for _, _, version, share, _ in world.driver.log if version == "v2"]
        assert shares == [0.0, 0.05, 0.5, 1.0, 1.0], "loaded without requests, then each share once, then the commit"
        assert "switching: v2 gets 5% of the requests; analysing for 5 s" in said[3]
        assert any("v2 gets 50% of the requests; pausing for 3 s" in line for line in said)
        assert any("draining: v2 serves; v1 stays loaded for 10 s" in line for line in said)
        assert said[-1].startswith("succeeded: v2 serves, v1 has finished its requests and gets no more")
        looks = [s for s in await world.service.findings((await world.latest()).id) if s.work.kind is WorkKind.LOOK]
        assert [look.work.number for look in looks] == list(range(1, len(looks) + 1))
        assert [f and f.carry for f in world.worker.before if f] != [], "a look gets the data of the one before"


async def test_a_comparison_that_fails_rolls_back_at_once_and_a_threshold_is_counted(tmp_path: Path) -> None:
    for name, metric, failures in (("compared", "ttft", 1), ("threshold", "threshold slow", 2)):
        (tmp_path / name).mkdir()
        async with StrategyWorld(tmp_path / name, rollout={"steps": ["5%", "analyse 30s"], **LOOKS}) as world:
            bad = finding(Outcome.FAIL, "the time to the first token is 2 times as long", metric=metric)
            world.worker.outcomes[WorkKind.LOOK, ""] = bad
            await world.promote()
            latest = await world.finish()
            assert latest.phase is Phase.ROLLED_BACK
            assert latest.reason.startswith(
                "v2 is worse than v1: the time to" if metric == "ttft" else "v2 does not hold its limits: the time to"
            )
            assert sum(done[0] is WorkKind.LOOK for done in world.worker.done) == failures
            assert latest.sentence.endswith("v1 serves again (1 of 1 question answered well)")
            assert world.driver.asked[-1] == ("b0", "v1"), "the rollback is verified"
            assert world.driver.servers["b0"].weights == {"v1": 1.0}


async def test_missing_data_never_rolls_back_but_waits_for_an_operator(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "analyse 5s"], **LOOKS}) as world:
        world.helps = False
        world.worker.outcomes[WorkKind.LOOK, ""] = finding(Outcome.NOT_ENOUGH, "12 requests are missing")
        await world.promote()
        line = await until(world, "(the last look: not-enough-data)")
        assert line == (
            "switching: v2 gets 5% of the requests; the analysis has no verdict yet (the last look: not-enough-data)"
        )
        assert (await world.latest()).wait == Wait(WaitKind.DATA, line.removeprefix("switching: "))
        id_ = (await world.latest()).id
        line = await until(world, "cp rollouts resume")
        assert line.endswith(f"; `cp rollouts resume {id_}` goes on, `cp rollouts abort {id_}` goes back")
        for _ in range(20):
            await world.tick(60)
        assert (await world.latest()).phase is Phase.SWITCHING, "it waits as long as nobody decides"
        await world.service.resume(id_, actor="bob")
        assert (await world.service.resume(id_, actor="bob")).wishes[-1].actor == "bob", "safe to repeat"
        await world.tick()
        assert world.driver.log[-1] == ("place", "b0", "v2", 1.0, 0.0)


async def test_metrics_that_come_back_end_the_wait_by_themselves(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "analyse 5s"], **LOOKS}) as world:
        world.helps = False
        world.worker.outcomes[WorkKind.LOOK, ""] = finding(Outcome.NOT_ENOUGH, "the metrics do not answer")
        await world.promote()
        await until(world, "cp rollouts resume")
        world.worker.outcomes.clear()
        assert (await world.finish()).ok is True


async def test_a_pause_stops_before_the_next_step_and_a_rollback_does_not_wait_for_it(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 5s", "50%", "pause 5s"]}) as world:
        world.helps = False
        rollout = await world.promote()
        await until(world, "pausing for 5 s")
        await world.service.pause(rollout.id, actor="eve", reason="lunch")
        assert len((await world.service.pause(rollout.id, actor="bob")).wishes) == 1, "safe to repeat"
        words = f"switching: Paused by eve: lunch; `cp rollouts resume {rollout.id}` goes on"
        for _ in range(30):
            assert await world.tick() == words
        assert world.driver.log[-1][3] == 0.05
        await world.service.resume(rollout.id, actor="bob")
        await until(world, "50% of the requests; pausing")
        await world.service.pause(rollout.id, actor="eve")
        await world.tick()
        world.evidence = Evidence(alerts=("LLMErrorRateHigh",))
        assert (await world.finish()).phase is Phase.ROLLED_BACK
        with pytest.raises(Conflict, match=r"has ended \(rolled-back: .*; there is nothing to resume"):
            await world.service.resume(rollout.id, actor="bob")


async def test_resuming_an_operators_pause_does_not_shorten_a_timed_one(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 60s"]}) as world:
        world.helps = False
        rollout = await world.promote()
        await until(world, "pausing for 1 min")
        await world.service.pause(rollout.id, actor="eve")
        await world.tick()
        await world.service.resume(rollout.id, actor="eve")
        for _ in range(50):
            assert "pausing for 1 min" in await world.tick()
        await world.service.resume(rollout.id, actor="eve")
        assert "Sending requests to v2" in await world.tick()


async def test_time_without_a_control_plane_is_no_bake_time(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 20s"]}) as world:
        world.helps = False
        await world.promote()
        await until(world, "pausing for 20 s")
        await world.tick(8)
        await world.crash()
        await world.tick(3600)
        assert world.driver.log[-1][3] == 0.05, "an hour in which nobody watched does not count"
        await until(world, "Sending requests to v2", limit=15)
        latest = await world.latest()
        assert 11 <= world.clock.now() - 3600 - latest.steps_at[-2] <= 22


async def test_approvals_by_different_people_who_did_not_start_it(tmp_path: Path) -> None:
    gates = {"approvals": [{"at": "switch", "count": 2}, {"at": "full", "role": "admin"}]}
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 5s"], **gates}) as world:
        world.helps = False
        rollout = await world.promote()
        line = await until(world, "Waiting for 2 approvals")
        assert line == (
            f"preparing: Waiting for 2 approvals by role operator, not by ann (`cp rollouts approve {rollout.id}`)"
        )
        with pytest.raises(Forbidden, match=r"ann started rollout .* and cannot approve it; another person must"):
            await world.service.approve(rollout.id, actor="ann", role="admin")
        with pytest.raises(Forbidden, match="waits for approvals by role operator, and vic has role viewer"):
            await world.service.approve(rollout.id, actor="vic", role="viewer")
        for _ in range(2):
            await world.service.approve(rollout.id, actor="bob")
        assert "1 approval by role operator, so far bob, not by ann" in await world.tick()
        await world.service.approve(rollout.id, actor="eve")
        await until(world, "pausing for 5 s")
        assert await world.service.approve(rollout.id, actor="eve"), "a repeated approval of a step that is done"
        with pytest.raises(Conflict, match="waits for no approval now: v2 gets 5%"):
            await world.service.approve(rollout.id, actor="kim")
        await until(world, "1 approval by role admin")
        with pytest.raises(Forbidden, match="waits for approvals by role admin, and eve has role operator"):
            await world.service.approve(rollout.id, actor="eve")
        await world.service.approve(rollout.id, actor="eve", role="admin")
        assert (await world.finish()).ok is True
        acts = [(e.actor, e.action) for e in AuditStore(world.db).recent(20) if e.action == "rollout.approve"]
        assert acts == [("eve", "rollout.approve"), ("eve", "rollout.approve"), ("bob", "rollout.approve")]


async def test_full_skips_shares_and_pauses_but_not_the_approval_of_every_request(tmp_path: Path) -> None:
    rollout = {"steps": ["1%", "pause", "5%", "pause 1h", "50%", "pause 1h"], "approvals": [{"at": "full"}]}
    async with StrategyWorld(tmp_path, rollout=rollout) as world:
        world.helps = False
        started = await world.promote()
        await until(world, "pausing until it is approved")
        await world.service.full(started.id, actor="bob", role="operator")
        assert len((await world.service.full(started.id, actor="bob")).wishes) == 1
        await until(world, "Waiting for 1 approval")
        await world.service.approve(started.id, actor="bob")
        assert (await world.finish()).ok is True
        assert [share for verb, _, _, share, _ in world.driver.log if verb == "place"] == [0.0, 0.01, 1.0]


@pytest.mark.parametrize("on_failure", ["roll-back", "pause", "ignore"])
async def test_a_hook_that_fails_has_the_meaning_that_was_given(tmp_path: Path, on_failure: str) -> None:
    hook = {"name": "backup", "at": "switch", "url": "http://h", "on_failure": on_failure}
    async with StrategyWorld(tmp_path, rollout={"hooks": [hook]}) as world:
        world.helps = False
        world.worker.outcomes[WorkKind.HOOK, "backup"] = Finding(Outcome.FAIL, ("status 500",))
        started = await world.promote()
        if on_failure == "pause":
            line = await until(world, "hook backup failed: status 500; `cp rollouts resume")
            assert line.startswith("preparing: ")
            await world.service.resume(started.id, actor="bob")
        latest = await world.finish()
        if on_failure == "roll-back":
            assert (latest.phase, latest.sentence) == (
                Phase.FAILED,
                "hook backup failed: status 500. v1 serves as before",
            )
        else:
            assert latest.ok is True
        assert len(world.worker.done) == 1


async def test_hooks_of_a_rollback_and_of_the_end_are_called_and_stop_nothing(tmp_path: Path) -> None:
    hooks = [{"name": name, "at": name, "url": "http://h"} for name in ("rollback", "end")]
    async with StrategyWorld(tmp_path, rollout={"hooks": hooks}) as world:
        world.worker.outcomes[WorkKind.HOOK, "rollback"] = Finding(Outcome.FAIL, ("status 500",))
        world.driver.bad = {"v2"}
        await world.promote()
        latest = await world.finish()
        assert (latest.phase, [done[1] for done in world.worker.done]) == (Phase.FAILED, ["rollback", "end"])
        assert latest.sentence.endswith("v1 serves as before")


async def test_a_deadline_without_progress_rolls_back_and_waits_for_people_do_not_count(tmp_path: Path) -> None:
    rollout = {"deadline": "30s", "approvals": [{"at": "start"}], "warm": {}}
    async with StrategyWorld(tmp_path, rollout=rollout) as world:
        world.helps = False
        started = await world.promote()
        for _ in range(100):
            await world.tick()
        assert (await world.latest()).phase is Phase.PLANNED
        await world.service.approve(started.id, actor="bob")
        world.worker.hangs = {WorkKind.WARM}
        await until(world, "Warming v2 up on b0")
        for _ in range(29):
            await world.tick()
        assert (await world.latest()).phase is Phase.PREPARING
        line = await until(world, "no progress for 30 s", limit=5)
        assert line == "failed: there was no progress for 30 s: Warming v2 up on b0. v1 serves as before"


async def test_rollback_on_an_alert_whatever_version_it_names(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 1h"]}) as world:
        await world.promote()
        await until(world, "pausing")
        world.evidence = Evidence(called_off_by=("LLMErrorRateHigh (9% fail)",))
        assert (await world.finish()).reason == "alert LLMErrorRateHigh (9% fail) fires, which `rollback_on` names"


async def test_within_the_rollback_window_a_bad_number_still_goes_back(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"rollback_window": "1h"}) as world:
        await world.promote()
        await until(world, "v1 stays loaded for 1 h")
        assert (await world.service.model("m")).stable == "v2"
        world.evidence = Evidence(20, 5, "gateway")
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        status = await world.service.model("m")
        assert (status.stable, status.previous) == ("v1", None)
        assert world.driver.log[-1] == ("commit", "", "v1", 1.0, 0.0)


async def test_a_version_that_was_rolled_back_is_in_quarantine_until_it_is_lifted(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 1h"]}) as world:
        started = await world.promote()
        await until(world, "pausing")
        await world.service.abort(started.id, actor="eve", reason="it is rude")
        assert (await world.finish()).sentence.startswith("Aborted by eve: it is rude. v1 serves again")
        (held,) = await world.service.quarantines("m")
        assert (held.version, held.rollout_id, held.reason) == ("v2", started.id, "Aborted by eve: it is rude")
        for again in (world.promote(), world.service.retry(started.id, actor="bob")):
            with pytest.raises(Refused, match=r"v2 of m has been in quarantine since rollout r-.* went back from it"):
                await again
        assert (await world.service.lift("m", "v2", actor="bob", reason="taught manners")).version == "v2"
        with pytest.raises(NotFound, match=r"v2 of m is in no quarantine"):
            await world.service.lift("m", "v2", actor="bob", reason="again")
        retried = await world.service.retry(started.id, actor="bob", idempotency_key="k")
        assert (await world.service.retry(started.id, actor="bob", idempotency_key="k")).id == retried.id
        assert (retried.plan.strategy, retried.created_by) == ("canary", "bob")


async def test_rolling_passes_each_backend_through_its_gates_before_the_next(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, capabilities=RESTARTS, backends=3, rollout={"warm": {}}) as world:
        world.worker.outcomes[WorkKind.WARM, "b1"] = Finding(Outcome.FAIL, ("it did not settle",))
        await world.promote("rolling")
        latest = await world.finish()
        assert latest.reason == "v2 did not get warm on b1: it did not settle"
        assert [order[1:3] for order in world.driver.log] == [("b0", "v2"), ("b1", "v2"), ("b0", "v1"), ("b1", "v1")]
        assert [s.loaded for s in world.driver.servers.values()] == [{"v1"}] * 3, "b2 was never touched"
        assert world.driver.emptied == []


async def test_recreate_orders_all_at_once_and_only_with_downtime_allowed(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, capabilities=RESTARTS, backends=2) as world:
        with pytest.raises(Refused, match="allow-downtime"):
            await world.promote("recreate")
        await world.promote("recreate", allow_downtime=True)
        await world.tick()
        assert [order[1:3] for order in world.driver.log] == [("b0", "v2"), ("b1", "v2")]
        assert world.driver.emptied == ["b0", "b1"]
        assert (await world.finish()).ok is True


@pytest.mark.parametrize(
    ("capabilities", "strategy", "rollout", "cure"),
    [
        (SWAPS, "canary", {"steps": ["5%", "pause 5s"]}, "needs weights, which this driver cannot set; use blue-green"),
        (RESTARTS, "blue-green", {}, "use rolling, or recreate with `--allow-downtime`"),
    ],
)
async def test_a_plan_that_the_driver_cannot_carry_out_is_refused_with_the_cure(
    tmp_path: Path, capabilities: Any, strategy: str, rollout: Any, cure: str
) -> None:
    async with StrategyWorld(tmp_path, capabilities=capabilities, rollout=rollout) as world:
        with pytest.raises(Refused, match=cure):
            await world.promote(strategy)
        assert world.driver.log == []


async def test_a_freeze_holds_the_next_share_and_no_rollback(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 3s", "50%", "pause 1h"]}) as world:
        started = await world.promote()
        await until(world, "pausing for 3 s")
        world.hold = Wait(WaitKind.TIME, "The share stays as it is: freeze window night holds", None)
        await until(world, "freeze window night holds")
        assert world.driver.log[-1][3] == 0.05
        await world.service.abort(started.id, actor="eve")
        assert (await world.finish()).phase is Phase.ROLLED_BACK


async def test_a_rollback_goes_to_a_named_version(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path) as world:
        await world.promote()
        await world.finish()
        rollback = await world.service.rollback("m", "v3", actor="eve")
        assert (rollback.plan.from_version, rollback.plan.to_version) == ("v2", "v3")
        with pytest.raises(Conflict, match="would go back to v3, not to v1"):
            await world.service.rollback("m", "v1", actor="eve")
        assert (await world.finish()).ok is True


async def test_the_version_that_a_rollback_leaves_is_in_quarantine_with_the_operators_reason(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path) as world:
        await world.promote()
        await world.finish()
        plan = await world.service.plan_rollback("m")
        assert plan.known[-1].startswith("v2 will be in quarantine")
        back = await world.service.rollback("m", actor="eve", reason="it cuts answers")
        assert back.sentence == "eve asked to roll back m from v2 to v1: it cuts answers"
        await world.tick()
        assert await world.service.quarantines() == [], "clients still get v2"
        assert (await world.finish()).ok is True
        (held,) = await world.service.quarantines("m")
        assert (held.version, held.rollout_id, held.reason) == ("v2", back.id, "Rollback by eve: it cuts answers")
        with pytest.raises(Refused, match=rf"v2 of m has been in quarantine since rollout {back.id} .*it cuts answers"):
            await world.promote()


async def test_an_operator_may_leave_the_version_out_of_quarantine_and_that_is_kept(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path, rollout={"steps": ["5%", "pause 1h"]}) as world:
        running = await world.promote()
        await until(world, "pausing")
        with pytest.raises(Conflict, match=rf"rollout {running.id} .* always put in quarantine; leave out"):
            await world.service.rollback("m", actor="eve", quarantine=False)
        await world.service.resume(running.id, actor="bob")
        assert (await world.finish()).ok is True
        back = await world.service.rollback("m", actor="eve", quarantine=False)
        assert "eve leaves the present version out of quarantine" in back.notes
        assert (await world.finish()).ok is True
        assert await world.service.quarantines() == []
        options = [(e.actor, e.detail) for e in AuditStore(world.db).recent(20) if e.action == "rollout.option"]
        assert ("eve", f"rollout {back.id}: eve leaves the present version out of quarantine") in options


async def test_a_rollback_that_is_aborted_leaves_its_version_where_it_was(tmp_path: Path) -> None:
    async with StrategyWorld(tmp_path) as world:
        await world.promote()
        await world.finish()
        back = await world.service.rollback("m", actor="eve", reason="it cuts answers")
        await world.tick()
        await world.service.abort(back.id, actor="eve")
        latest = await world.finish()
        assert latest.phase in (Phase.ROLLED_BACK, Phase.FAILED)
        assert await world.service.quarantines() == []
        retried = await world.service.retry(back.id, actor="bob")
        assert retried.sentence == "bob asked to roll back m from v2 to v1: it cuts answers"
        await world.finish()
        assert [q.reason for q in await world.service.quarantines()] == ["Rollback by bob: it cuts answers"]
