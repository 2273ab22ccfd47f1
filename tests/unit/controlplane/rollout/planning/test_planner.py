"""Plans through every gate: options, freezes, order, and who may take gates away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.target import Auth
from controlplane.config.rollout.section import RolloutSection, RolloutsSection
from controlplane.errors import NotFound, Refused, Unreadable
from controlplane.rollout.model import Phase, RolloutKind
from controlplane.rollout.options import CanaryStep, CanaryStepKind, Moment
from controlplane.rollout.planning.order import RolloutBrief, order_reasons
from controlplane.rollout.planning.overrides import Overrides
from controlplane.rollout.planning.plan import Request
from controlplane.store.audit import AuditStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.quarantines import Quarantine
from tests.fakes.rollout_world import START, World
from tests.unit.controlplane.rollout.planning.planner_rig import (
    FREEZE,
    memory,
    record,
    rig,
)


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
        assert (await it.plan(strategy="blue-green", role="admin")).strategy == "blue-green"
        assert (await it.plan(overrides=Overrides({"strategy": "blue-green"}), role="admin")).strategy == "blue-green"
        assert await it.refused(strategy="blue-green") == [
            "only an admin may leave out the steps of the canary (strategy blue-green); ann has role operator",
            "only an admin may leave out analysis; ann has role operator",
        ]
        assert (await it.refused(strategy="magic"))[0].startswith("there is no strategy 'magic'; known are ")


async def test_the_whole_switch_at_once_is_a_canary_without_its_steps(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.options(steps=["5%", "pause"], analysis={"interval": "30s"})
        request = Request("model", "v2", overrides=Overrides(full=True), actor="ann", role="admin")
        chosen, against = await it.planner._choose(request, it.planner._models["model"])
        assert against == []
        assert chosen.options.steps == (CanaryStep(CanaryStepKind.WEIGHT, 1.0),)
        noted = ("ann left out the steps of the canary", "ann chose to leave out the steps of the canary")
        assert chosen.notes == noted
        _, against = await it.planner._choose(replace(request, role="operator"), it.planner._models["model"])
        assert against == ["only an admin may leave out the steps of the canary; ann has role operator"]


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
                "v2 of model has been in quarantine since rollout r-3 went back from it (9% of requests failed); "
                "lift it with `cp quarantine lift model v2 --reason TEXT`",
            )
        await it.planner.plan(Request("model", "v3"), [quarantine])


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


async def test_all_options_are_stored_with_the_rollout(tmp_path: Path) -> None:
    auth = {"authorization": {"credentials_file": "/key"}, "tls": {"ca_file": "/ca"}}
    rollout = {
        "analysis": {"thresholds": [{"name": "q", "expr": "q", "at_most": 1}]},
        "golden": {"prompts": [{"prompt": "a", "expect": {"json_schema": {"type": "object"}}}]},
        "warm": {},
        "top_up": {"prompts": ["a"]},
        "hooks": [{"name": "h", "at": "end", "url": "http://h/", **auth}],
        "approvals": [{"at": "full"}],
        "checklist": ["monitoring", {"name": "load", "expr": "up"}],
        "rollback_on": ["A"],
        "deadline": "1h",
    }
    async with World(tmp_path) as world:
        section = world.section.model_copy(update={"rollout": RolloutSection.model_validate(rollout)})
        world.service.update({"model": section}, world._drivers)
        started = await world.service.start("model", "v2", actor="ann", role="operator")
        stored = (await world.service.show(started.id)).rollout
    assert stored.plan.options == started.plan.options
    assert stored.plan.options.hooks[0].auth == Auth(credentials_file="/key", ca_file="/ca")
