"""Plans through every gate, with a real driver on fake Tritons, a real database and a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.config.models import ModelSection
from controlplane.config.rollout.section import RolloutSection, RolloutsSection
from controlplane.errors import NotFound, Refused, Unreadable
from controlplane.metrics.promql.values import QueryValue
from controlplane.rollout.model import Phase, Plan, RolloutKind
from controlplane.rollout.options import CanaryStep, CanaryStepKind, Moment
from controlplane.rollout.planning.order import RolloutBrief, order_reasons
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.plan import Request
from controlplane.rollout.planning.planner import Planner
from controlplane.store.audit import AuditStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.quarantines import Quarantine
from controlplane.store.rollout_rows.records import RolloutRecord
from tests.fakes.rollout_world import START, World
from tests.unit.controlplane.metrics.conftest import load

LONG_AGO, FAR = "1970-01-01", "1970-02-01"
"""Days around START, which is in January 1970."""
FREEZE = {"freeze": [{"name": "feast", "from": LONG_AGO, "to": FAR}]}


class Series:
    def __init__(self, text: str) -> None:
        self._engine = load(text)

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        return self._engine.instant(expr, 0.0)


@dataclass
class Rig:
    """A planner over model `model` on one fake Triton. Keyword arguments are fields of its `rollout:`."""

    world: World
    planner: Planner
    shared: Mapping[str, Any]
    versions: Mapping[str, Any]

    def options(self, **rollout: Any) -> None:
        section = self.world.section.model_copy(
            update={
                "rollout": RolloutSection.model_validate(rollout),
                "versions": ModelSection.model_validate(
                    {**BASE, "versions": {"v1": {}, "v2": {}, "v3": {}, **self.versions}}
                ).versions,
            }
        )
        sections = {**self.world._sections, "model": section}
        self.planner.update(sections, self.world._drivers, {}, RolloutsSection.model_validate(self.shared))

    async def plan(self, version: str = "v2", *, dry: bool = False, **request: Any) -> Plan:
        given = Request("model", version, **{"actor": "ann", "role": "operator", **request})
        return await (self.planner.dry_run(given) if dry else self.planner.plan(given))

    async def refused(self, version: str = "v2", **request: Any) -> list[str]:
        with pytest.raises(Refused) as refused:
            await self.plan(version, **request)
        return list(refused.value.reasons)


BASE = {
    "name": "model",
    "stable": "v1",
    "traffic": {"driver": "triton", "backends": [{"url": "http://a:1"}]},
    "versions": {"v1": {}},
}


@asynccontextmanager
async def rig(
    folder: Path,
    shared: Mapping[str, Any] | None = None,
    *,
    series: str | None = None,
    another: bool = False,
    **v2: Any,
) -> AsyncIterator[Rig]:
    async with World(folder, another=another) as world:
        queries = Series(series.replace("HOST", "127.0.0.1")) if series is not None else None
        planner = Planner(RolloutLog(world.db), world.clock, queries)
        made = Rig(world, planner, shared or {}, {"v2": v2})
        made.options()
        yield made


def record(**changes: Any) -> RolloutRecord:
    values: dict[str, Any] = {
        "id": "r-9",
        "model": "another",
        "from_version": "v1",
        "to_version": "v2",
        "kind": "promote",
        "strategy": "blue-green",
        "phase": "preparing",
        "ok": None,
        "switched": False,
        "sentence": "s",
        "turn_back": "",
        "created_by": "ann",
        "created_at": START,
        "updated_at": START,
        "finished_at": None,
        "idempotency_key": None,
        "request": "",
    }
    return RolloutRecord(**{**values, **changes})


async def test_a_plan_holds_the_options_of_fleet_yaml(tmp_path: Path) -> None:
    async with rig(tmp_path, {"approvals": [{"at": "full"}]}) as it:
        it.options(deadline="1h", rollback_window="5m", warm={})
        plan = await it.plan()
        assert (plan.strategy, plan.options.deadline_s, plan.options.rollback_window_s) == ("blue-green", 3600.0, 300.0)
        assert [approval.at for approval in plan.options.approvals] == [Moment.FULL]
        assert plan.options.notes == plan.notes == ()
        assert it.world.triton.loads == [], "planning moves nothing"


async def test_the_strategy_is_the_requests_or_else_fleet_yamls(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.options(steps=["5%"])
        needs = "strategy canary needs weights, which this driver cannot set"
        assert (await it.refused())[0].startswith(needs)
        assert (await it.plan(strategy="blue-green")).strategy == "blue-green"
        assert (await it.plan(overrides=Overrides({"strategy": "blue-green"}))).strategy == "blue-green"
        assert (await it.refused(strategy="magic"))[0].startswith("there is no strategy 'magic'; known are ")


async def test_the_whole_switch_at_once_is_a_canary_without_its_steps(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.options(steps=["5%", "pause"], analysis={"interval": "30s"})
        request = Request("model", "v2", overrides=Overrides(full=True), actor="ann", role="operator")
        chosen, against = await it.planner._choose(request, it.planner._models["model"])
        assert against == []
        assert chosen.options.steps == (CanaryStep(CanaryStepKind.WEIGHT, 1.0),)
        assert chosen.notes == ("ann left out the steps of the canary",)


async def test_a_freeze_window_refuses_promotions_and_no_rollback(tmp_path: Path) -> None:
    async with rig(tmp_path, FREEZE) as it:
        assert await it.refused() == [
            "freeze window feast holds until 1970-02-02 00:00 UTC; promote model later, or let an admin run "
            "`cp promote model v2 --override-freeze REASON`"
        ]
        assert (await it.plan(kind=RolloutKind.ROLLBACK)).options.through_freeze
        assert it.planner.freeze("model", START) is not None
        it.world.clock.time = START + 40 * 86400
        assert (await it.plan()).options.through_freeze is False
        assert it.planner.freeze("model", it.world.clock.time) is None


async def test_an_admin_overrides_a_freeze_with_a_reason_that_is_kept(tmp_path: Path) -> None:
    async with rig(tmp_path, FREEZE) as it:
        overrides = Overrides(override_freeze="outage 12")
        plan = await it.plan(overrides=overrides, role="admin")
        note = "ann overrode freeze window feast (until 1970-02-02 00:00 UTC): outage 12"
        assert (plan.options.through_freeze, plan.options.notes, plan.notes) == (True, (note,), (note,))
        assert await it.refused(overrides=overrides) == [
            "only an admin may override freeze windows; ann has role operator"
        ]
        assert await it.refused(overrides=Overrides(override_freeze="  "), role="admin") != []


async def test_gates_are_taken_away_by_an_admin_only_and_it_is_noted(tmp_path: Path) -> None:
    async with rig(tmp_path, {"checklist": ["rollback"]}) as it:
        it.options(approvals=[{"at": "full", "count": 2}])
        overrides = Overrides({"approvals": [], "checklist": []})
        assert await it.refused(overrides=overrides) == [
            "only an admin may leave out the check rollback; ann has role operator",
            "only an admin may ask for less than 2 approvals of role operator at full; ann has role operator",
        ]
        plan = await it.plan(overrides=overrides, role="admin")
        assert (plan.options.approvals, plan.options.checklist) == ((), ())
        assert plan.options.notes == (
            "ann set approvals to []",
            "ann set checklist to []",
            "ann chose to leave out the check rollback",
            "ann chose to ask for less than 2 approvals of role operator at full",
        )


async def test_every_reason_comes_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path, FREEZE) as it:
        it.options(checklist=["scan"], golden={"file": str(tmp_path / "none.json")})
        given = {"analysis": {"thresholds": [{"name": "q", "expr": "sum(", "at_most": 1}]}}
        reasons = await it.refused("v9", overrides=Overrides(given, attest={"scam": "x"}))
        assert [reason.partition(": ")[0].partition(" holds ")[0] for reason in reasons] == [
            "model has no version v9; fleet.yaml declares v1, v2, v3",
            "--attest scam",
            "nobody attested scan of the checklist; add it",
            "freeze window feast",
            "threshold q cannot be evaluated",
            "the golden set",
        ]


async def test_what_the_engines_lack_comes_with_the_other_reasons(tmp_path: Path) -> None:
    async with rig(tmp_path, FREEZE, series=memory(free=10), memory="40GB") as it:
        freeze, room = await it.refused()
        assert freeze.startswith("freeze window feast") and room.startswith("v2 needs 40 GiB")
        log = RolloutLog(it.world.db)
        assert log.recent("model") == []


async def test_an_item_is_attested_by_a_person(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.options(checklist=["scan"])
        assert await it.refused() == [
            "nobody attested scan of the checklist; add it: `cp promote model v2 --attest scan=TEXT`"
        ]
        assert await it.refused(overrides=Overrides(attest={"scan": " "})) == [
            "--attest scan: expected words or a link, got an empty text"
        ]
        plan = await it.plan(overrides=Overrides(attest={"scan": "ticket 7"}))
        assert plan.options.checklist[0].attested == "ticket 7"
        assert plan.options.notes == ("ann attested scan: ticket 7",)


async def test_rollouts_that_run_on_the_same_servers_are_refused(tmp_path: Path) -> None:
    async with rig(tmp_path, another=True) as it:
        log = RolloutLog(it.world.db)
        log.start(record())
        assert (await it.plan()).to_version == "v2", "the other model has servers of its own"
        it.world._sections["another"] = it.world.section.model_copy(update={"name": "another"})
        it.options()
        (reason,) = await it.refused()
        assert reason.startswith(
            f"rollout r-9 of another is running on {it.world.triton.url}, which serves model too: "
        )
        assert reason.endswith("wait for it, or `cp rollouts abort r-9`")
        assert (await it.plan(kind=RolloutKind.ROLLBACK)).kind is RolloutKind.ROLLBACK


async def test_a_running_rollout_that_cannot_be_read_still_holds_the_model(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        RolloutLog(it.world.db).start(record(model="model"))
        with pytest.raises(Unreadable, match="cp rollouts close r-9"):
            await it.plan()


async def test_models_have_an_order(tmp_path: Path) -> None:
    async with rig(tmp_path, another=True) as it:
        it.options(after=["another"])
        await it.plan()  # it has had no promotion yet
        log = RolloutLog(it.world.db)
        log.start(record())
        assert await it.refused() == [
            "another comes first (rollout.after), and rollout r-9 of it is running (preparing)"
        ]
        log.close("r-9", "closed", "ann", START)
        assert await it.refused() == [
            "another comes first (rollout.after), and its last promotion, r-9 to v2, ended as failed; promote another "
            "again"
        ]
        log.start(record(id="r-10", kind="rollback", created_at=START + 1))
        log.close("r-10", "closed", "ann", START + 1)
        assert len(await it.refused()) == 1, "a rollback is no promotion"


def test_a_promotion_that_succeeded_lets_the_next_model_go() -> None:
    done = RolloutBrief("r-1", "a", "v2", "promote", Phase.SUCCEEDED, True)
    assert list(order_reasons(["a"], [], {"a": done})) == []
    assert len(list(order_reasons(["a"], [], {"a": replace(done, phase=Phase.ROLLED_BACK)}))) == 1


async def test_a_version_in_quarantine_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        quarantine = Quarantine("model", "v2", START, "r-3", "9% of requests failed")
        for kind in RolloutKind:
            with pytest.raises(Refused) as refused:
                await it.planner.plan(Request("model", "v2", kind), [quarantine])
            assert refused.value.reasons == (
                "v2 of model is in quarantine since rollout r-3 went back from it (9% of requests failed); lift it "
                "with `cp quarantine lift model v2 --reason TEXT`",
            )
        await it.planner.plan(Request("model", "v3"), [quarantine])


# --- capacity


def memory(free: float) -> str:
    labels = 'node="HOST",instance="HOST:9400",gpu="g0"'
    gib = 2**30
    return f"gpu_memory_total_bytes{{{labels}}} {80 * gib}\ngpu_memory_used_bytes{{{labels}}} {(80 - free) * gib}\n"


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


async def test_an_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        with pytest.raises(NotFound, match=r"there is no model modle; fleet.yaml declares model"):
            await it.planner.plan(Request("modle", "v2"))


def fingerprints() -> Iterator[tuple[Request, str]]:
    yield Request("chat", "v2"), "promote chat v2 blue-green"
    yield Request("chat", "v2", strategy="canary"), "promote chat v2 canary"
    yield Request("chat", "v2", actor="ann", role="admin"), "promote chat v2 blue-green"
    overrides = Overrides({"deadline": "1h"}, attest={"scan": "x"})
    yield (
        Request("chat", "v2", overrides=overrides),
        'promote chat v2 blue-green {"attest": {"scan": "x"}, "section": {"deadline": "1h"}}',
    )


@pytest.mark.parametrize(("request_", "text"), list(fingerprints()))
def test_an_idempotency_key_is_bound_to_all_that_was_asked_for(request_: Request, text: str) -> None:
    assert request_.fingerprint() == text


async def test_options_set_by_hand_are_in_the_audit_trail(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        shared = RolloutsSection.model_validate(FREEZE)
        world.service.update(world._sections, world._drivers, {}, None, shared)
        overrides = Overrides({"deadline": "1h"}, override_freeze="outage 12")
        started = await world.service.start("model", "v2", overrides=overrides, actor="ann", role="admin")
        trail = AuditStore(world.db).recent(10)
        assert {(entry.actor, entry.action, entry.subject, entry.detail) for entry in trail} == {
            ("ann", "rollout.promote", "model/model", f"v1 -> v2 by blue-green (rollout {started.id})"),
            ("ann", "rollout.option", "model/model", f'rollout {started.id}: ann set deadline to "1h"'),
            (
                "ann",
                "rollout.option",
                "model/model",
                f"rollout {started.id}: ann overrode freeze window feast (until 1970-02-02 00:00 UTC): outage 12",
            ),
        }


async def test_the_targets_of_a_version_are_those_of_its_servers(tmp_path: Path) -> None:
    own = [{"url": "http://b:9000", "engine": "vllm"}, {"url": "http://[::1]:1", "engine": "triton"}]
    async with rig(
        tmp_path, backends=[*own, {"url": "http://c:1", "metrics": "http://u:p@m:7/x", "engine": "vllm"}]
    ) as it:
        assert it.planner.targets("model", "v1") == ("127.0.0.1:8002",)
        assert it.planner.targets("model", "v2") == ("127.0.0.1:8002", "b:9000", "[::1]:8002", "m:7")
        assert it.planner.targets("other", "v1") == it.planner.targets("other", "v2") == ()
