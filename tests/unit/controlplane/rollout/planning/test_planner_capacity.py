"""Plans by the memory of GPUs, and the gates that a dry run shows."""

from __future__ import annotations

from pathlib import Path

from controlplane.rollout.model import RolloutKind
from controlplane.rollout.planning.overrides import Overrides
from tests.unit.controlplane.rollout.planning.planner_rig import (
    FAR,
    LONG_AGO,
    memory,
    rig,
)

# --- capacity


async def test_a_candidate_that_does_not_fit_is_refused_without_downtime(tmp_path: Path) -> None:
    async with rig(tmp_path, series=memory(free=10), memory="40GB") as it:
        (reason,) = await it.refused()
        assert reason.startswith(
            f"v2 needs 40 GiB on each GPU of {it.world.triton.url} (40 GiB of weights by fleet.yaml)"
        )
        assert reason.endswith("; to accept that: `cp promote model v2 --strategy recreate --allow-downtime`")
        allowed = Overrides(allow_downtime=True)
        plan = await it.plan(overrides=allowed)
        assert (plan.strategy, plan.resident) == ("recreate", False)
        assert plan.options.notes[0] == "ann allowed downtime"
        assert "does not fit beside v1" in plan.options.notes[1]
        # A strategy that somebody named is not replaced.
        assert len(await it.refused(overrides=allowed, strategy="blue-green")) == 1
        assert (await it.plan(kind=RolloutKind.ROLLBACK)).strategy == "blue-green"


async def test_the_checklist_does_not_refuse_a_downtime_that_somebody_allowed(tmp_path: Path) -> None:
    async with rig(tmp_path, series=memory(free=10), memory="40GB") as it:
        it.options(checklist=["capacity", "rollback"])
        assert len(await it.refused()) == 1
        plan = await it.plan(overrides=Overrides(allow_downtime=True))
        capacity, rollback = plan.options.checklist
        assert capacity.attested.startswith("downtime is allowed: v2 needs 40 GiB") and not capacity.builtin
        assert rollback.builtin == "rollback"
        assert await it.refused(overrides=Overrides({"deadline": 5}, allow_downtime=True)) == [
            "rollout.deadline: expected a duration such as 15s, 2m or 1h30m, got the number 5"
        ]


async def test_a_candidate_that_fits_and_one_that_never_does(tmp_path: Path) -> None:
    async with rig(tmp_path, series=memory(free=50), memory="40GB") as it:
        assert (await it.plan()).strategy == "blue-green"
    (tmp_path / "b").mkdir()
    async with rig(tmp_path / "b", series=memory(free=50), memory="90GB") as it:
        assert (await it.refused(overrides=Overrides(allow_downtime=True)))[0].endswith("has only 80 GiB in all")


async def test_what_is_not_known_is_said_and_refuses_only_if_asked(tmp_path: Path) -> None:
    async with rig(tmp_path, series="") as it:
        why = "no collector reports the memory of GPUs on 127.0.0.1"
        sentence = f"whether v2 fits on {it.world.triton.url} is unknown: {why}"
        assert f"capacity: {sentence}" in (await it.plan(dry=True)).known
        assert (await it.plan()).notes == (), "it is no news of this rollout"
        it.options(checklist=["capacity"])
        assert await it.refused() == [f"{sentence}; the checklist asks for capacity"]


async def test_recreating_needs_permission(tmp_path: Path) -> None:
    async with rig(tmp_path, series=memory(free=50), memory="40GB") as it:
        assert await it.refused(strategy="recreate") == [
            "strategy recreate unloads the stable version first; allow it: "
            "`cp promote model v2 --strategy recreate --allow-downtime`"
        ]
        it.options(allow_downtime=True)
        assert (await it.plan(strategy="recreate")).strategy == "recreate"


# --- what a dry run shows


async def test_a_dry_run_shows_every_gate_with_its_state(tmp_path: Path) -> None:
    shared = {
        "freeze": [
            {"name": "feast", "from": "1971-01-01", "to": "1971-01-02"},
            {"name": "other", "from": LONG_AGO, "to": FAR, "models": ["another"]},
        ],
        "hooks": [{"name": "backup", "at": "switch", "url": "http://h/b?key=geheim", "on_failure": "pause"}],
        "approvals": [{"at": "full", "count": 2}],
    }
    async with rig(tmp_path, shared, series=memory(free=50), another=True, memory="40GB") as it:
        it.options(
            checklist=["rollback", "monitoring", "capacity", {"name": "load", "expr": "load_test_ok"}, "scan"],
            analysis={"compare": ["errors"], "thresholds": [{"name": "q", "expr": "q", "at_most": 1}]},
            warm={},
            golden={"prompts": [{"prompt": "2 + 2?", "expect": {"contains": "4"}}], "dry_run": True},
            rollback_on=["LLMErrorRateHigh"],
            deadline="2h",
            rollback_window="30m",
            after=["another"],
        )
        plan = await it.plan(dry=True, overrides=Overrides(attest={"scan": "ticket 7"}))
        fits = plan.known[
            plan.known.index("order: another comes first; it is not rolling, and its last promotion did not fail") + 1
        ]
        assert fits.startswith("capacity: v2 needs 40 GiB") and fits.endswith("it fits beside v1")
        start = plan.known.index("freeze: none of the windows holds now (feast)")
        shown = [sentence for sentence in plan.known[start:] if "needs 40 GiB" not in sentence]
        assert shown == [
            "freeze: none of the windows holds now (feast)",
            "order: another comes first; it is not rolling, and its last promotion did not fail",
            "check rollback passes now: v1 is ready on every backend",
            "check monitoring does not pass now: no server of model is watched; check `cp targets`",
            "check load does not pass now: load_test_ok has no result now",
            "check scan passes now: scan is attested: ticket 7",
            "hook backup: http://h/b is called before the candidate gets its first request of a client; a failure "
            "pauses the rollout until an operator resumes it",
            "approval: 2 other people of role operator approve before the candidate gets every request",
            "warm-up: 5 to 100 requests until the time to first token settles",
            "golden set: 100% of 1 prompt must hold, reported only",
            "analysis: every 1m, from 100 requests on; compared: errors; thresholds: q",
            "alerts: LLMErrorRateHigh on the model roll back",
            "deadline: 2h without progress roll back",
            "rollback window: the old version stays loaded for 30m",
        ]


async def test_a_dry_run_without_metrics_names_the_checks_without_a_state(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.options(checklist=["monitoring"])
        plan = await it.plan(dry=True)
        assert plan.known[-1] == "check monitoring is checked when the rollout starts"
        assert "freeze: fleet.yaml has no freeze windows" in plan.known
