"""Rollouts over the API: steered by operators, idempotent, and refused with reason and cure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from controlplane.access.roles import Role
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.stored.records import to_record
from controlplane.rollout.wishes import Wait, WaitKind
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.quarantines import Quarantine
from tests.fakes.canary import ANALYSE, APPROVE, at
from tests.unit.controlplane.api.conftest import NOW

KEY = {"Idempotency-Key": "3f1c9b2e-retry"}
APPROVAL = Wait(WaitKind.APPROVAL, "Waiting for 1 approval by role operator")


def stored(rig: Any, step: int, **changes: Any) -> Rollout:
    """Store a running rollout that ann started."""
    rollout = at(step, entered=NOW - 60, **{"id": "r-11aa", "created_at": NOW, "updated_at": NOW, **changes})
    RolloutLog(rig.db).start(to_record(replace(rollout, finished_at=None, phase=Phase.SWITCHING)))
    if rollout.finished:
        RolloutLog(rig.db).save(to_record(rollout), [], None, None)
    return rollout


async def shown(client: httpx.AsyncClient, identifier: str = "r-11aa") -> dict[str, Any]:
    answer = await client.get(f"/cp/v1/rollouts/{identifier}")
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


@pytest.mark.parametrize("action", ["pause", "full"])
async def test_a_wish_is_stored_with_its_reason_and_a_repetition_changes_nothing(
    rig: Any, operator: httpx.AsyncClient, action: str
) -> None:
    stored(rig, ANALYSE)
    for _ in range(2):
        answer = await operator.post(f"/cp/v1/rollouts/r-11aa/{action}", json={"reason": "incident 412"})
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == "/cp/v1/rollouts/r-11aa"
    (wish,) = (await shown(operator))["wishes"]
    assert {name: wish[name] for name in ("verb", "actor", "role", "step", "reason")} == {
        "verb": action,
        "actor": "test-operator",
        "role": "operator",
        "step": ANALYSE + 1,
        "reason": "incident 412",
    }


async def test_a_pause_is_ended_by_a_resume(rig: Any, operator: httpx.AsyncClient) -> None:
    stored(rig, ANALYSE)
    assert (await operator.post("/cp/v1/rollouts/r-11aa/pause")).status_code == 202
    assert (await operator.post("/cp/v1/rollouts/r-11aa/resume")).status_code == 202
    assert [w["verb"] for w in (await shown(operator))["wishes"]] == ["pause", "resume"]


async def test_two_people_approve_and_each_counts_once(rig: Any, operator: httpx.AsyncClient) -> None:
    stored(rig, APPROVE, wait=APPROVAL)
    for _ in range(2):
        assert (await operator.post("/cp/v1/rollouts/r-11aa/approve")).status_code == 202
    async with rig.client(Role.ADMIN) as admin:
        assert (await admin.post("/cp/v1/rollouts/r-11aa/approve", json={"reason": "looks good"})).status_code == 202
    assert [w["actor"] for w in (await shown(operator))["wishes"]] == ["test-operator", "test-admin"]


async def test_who_started_a_rollout_cannot_approve_it(rig: Any, operator: httpx.AsyncClient) -> None:
    stored(rig, APPROVE, wait=APPROVAL, created_by="test-operator")
    answer = await operator.post("/cp/v1/rollouts/r-11aa/approve")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "test-operator started rollout r-11aa and cannot approve it" in answer.json()["detail"]
    assert (await shown(operator))["wishes"] == []


async def test_what_waits_for_no_approval_is_not_approved(rig: Any, operator: httpx.AsyncClient) -> None:
    stored(rig, ANALYSE)
    answer = await operator.post("/cp/v1/rollouts/r-11aa/approve")
    assert answer.status_code == 409
    assert "approval" in answer.json()["detail"]


@pytest.mark.parametrize("action", ["pause", "resume", "approve", "full", "abort"])
async def test_a_rollout_that_has_ended_is_not_steered(rig: Any, operator: httpx.AsyncClient, action: str) -> None:
    stored(rig, ANALYSE, phase=Phase.ROLLED_BACK, finished_at=NOW, sentence="v2 failed. v1 serves again")
    answer = await operator.post(f"/cp/v1/rollouts/r-11aa/{action}")
    assert answer.status_code == 409
    assert "v2 failed. v1 serves again" in answer.json()["detail"]


async def test_an_unknown_rollout_is_not_found(operator: httpx.AsyncClient) -> None:
    for action in ("pause", "resume", "approve", "full", "abort", "retry"):
        assert (await operator.post(f"/cp/v1/rollouts/r-0/{action}")).status_code == 404
    assert (await operator.get("/cp/v1/rollouts/r-0/findings")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{"reason": "x" * 501}, {"reason": "two\nlines"}, {"reason": "nul\x00"}, {"why": "no such field"}, {"reason": 1}],
    ids=["too long", "a line break", "a NUL", "an unknown field", "no text"],
)
async def test_a_reason_is_one_line_of_text(rig: Any, operator: httpx.AsyncClient, body: dict[str, Any]) -> None:
    stored(rig, ANALYSE)
    assert (await operator.post("/cp/v1/rollouts/r-11aa/pause", json=body)).status_code == 400
    assert (await shown(operator))["wishes"] == []


async def test_a_retry_is_a_new_rollout_of_the_same_request_once_a_key(rig: Any, operator: httpx.AsyncClient) -> None:
    first = (await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})).json()
    running = await operator.post(f"/cp/v1/rollouts/{first['id']}/retry", headers=KEY)
    assert running.status_code == 409
    log = RolloutLog(rig.db)
    rollout = (await rig.rollouts.show(first["id"])).rollout
    log.save(to_record(replace(rollout, phase=Phase.FAILED, finished_at=NOW, sentence="v2 failed")), [], None, None)
    again = await operator.post(f"/cp/v1/rollouts/{first['id']}/retry", headers=KEY)
    twice = await operator.post(f"/cp/v1/rollouts/{first['id']}/retry", headers=KEY)
    assert (again.status_code, twice.json()["id"]) == (202, again.json()["id"])
    assert again.json()["id"] != first["id"]
    assert (again.json()["model"], again.json()["to"]) == ("chat", "v2")


def quarantine(rig: Any, version: str = "v2") -> None:
    rollout = stored(rig, ANALYSE)
    ended = replace(rollout, phase=Phase.ROLLED_BACK, finished_at=NOW, sentence="v2 failed. v1 serves again")
    kept = Quarantine("chat", version, NOW, rollout.id, "8% failed")
    RolloutLog(rig.db).save(to_record(ended), [], None, None, quarantine=kept)


async def test_a_version_in_quarantine_is_refused_with_the_way_out(rig: Any, operator: httpx.AsyncClient) -> None:
    quarantine(rig)
    (kept,) = (await operator.get("/cp/v1/quarantine")).json()["items"]
    assert (kept["version"], kept["rollout"], kept["reason"]) == ("v2", "r-11aa", "8% failed")
    assert (await operator.get("/cp/v1/quarantine", params={"model": "other"})).json()["items"] == []
    answer = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})
    assert answer.status_code == 409
    (reason,) = answer.json()["reasons"]
    for words in ("r-11aa", "8% failed", "cp quarantine lift chat v2 --reason"):
        assert words in reason


async def test_only_an_admin_lifts_a_quarantine_and_says_why(
    rig: Any, operator: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    quarantine(rig)
    lift = "/cp/v1/models/chat/versions/v2/quarantine/lift"
    assert (await operator.post(lift, json={"reason": "mended"})).status_code == 403
    for body in ({}, {"reason": ""}, {"reason": "  "}):
        assert (await admin.post(lift, json=body)).status_code == 400
    lifted = await admin.post(lift, json={"reason": "mended"})
    assert (lifted.status_code, lifted.json()["rollout"]) == (200, "r-11aa")
    assert (await admin.get("/cp/v1/quarantine")).json()["items"] == []
    assert (await admin.post(lift, json={"reason": "mended"})).status_code == 404
    acts = (await admin.get("/cp/v1/audit", params={"action": "quarantine.lift"})).json()["items"]
    assert [(act["actor"], "mended" in act["sentence"]) for act in acts] == [("test-admin", True)]
    assert (await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})).status_code == 202


async def test_a_rollback_names_its_version(rig: Any, operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/cp/v1/models/chat/rollback", json={"to": "v2", "dry_run": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["to"] == "v2"
    unknown = await operator.post("/cp/v1/models/chat/rollback", json={"to": "v9"})
    assert unknown.status_code == 409
    assert "chat has no version v9" in unknown.json()["detail"]


async def test_a_dry_run_says_how_long_it_takes_and_the_way_back(operator: httpx.AsyncClient) -> None:
    plan = (await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2", "dry_run": True})).json()
    assert plan["left"].startswith("at least")
    assert "v1 stays loaded" in plan["rollback"]
    assert (await operator.get("/cp/v1/rollouts")).json()["items"] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rollout": {"analysis": {"intervall": "30s"}}}, "rollout.analysis.intervall"),
        ({"rollout": {"golden": {"file": "/etc/passwd"}}}, "rollout.golden.file"),
        ({"strategy": "canary"}, "strategy canary needs weights"),
        ({"strategy": "recreate"}, "--allow-downtime"),
    ],
)
async def test_wrong_options_are_refused_by_name(operator: httpx.AsyncClient, more: dict[str, Any], words: str) -> None:
    answer = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2", **more})
    assert answer.status_code == 409
    assert any(words in reason for reason in answer.json()["reasons"])


async def test_a_dry_run_of_a_rollback_says_what_turning_back_does(rig: Any, operator: httpx.AsyncClient) -> None:
    stored(rig, ANALYSE)
    answer = await operator.post("/cp/v1/models/chat/rollback", json={"dry_run": True})
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert (plan["from"], plan["to"]) == ("v2", "v1")
    assert plan["steps"][0] == "stop rollout r-11aa of chat to v2, which is switching now"
    assert plan["left"] == "whether v1 is loaded is not known: the model was not observed yet"
    assert (await shown(operator))["phase"] == "switching"
    other = await operator.post("/cp/v1/models/chat/rollback", json={"to": "v3", "dry_run": True})
    assert other.status_code == 409
