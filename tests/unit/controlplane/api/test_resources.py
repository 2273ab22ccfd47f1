"""Fleet, models, targets, rollouts, alerts, notifications, tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertInstance, AlertState, Transition
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.config.slos import Availability, SloSection
from controlplane.store.outbox import enqueue
from tests.unit.controlplane.api.conftest import Rig

KEY = {"Idempotency-Key": "3f1c9b2e-promote-chat-v2"}


async def test_fleet(viewer: httpx.AsyncClient) -> None:
    fleet = (await viewer.get("/cp/v1/fleet")).json()
    models = fleet.pop("models")
    assert fleet == {
        "name": "prod",
        "generated_at": "2027-01-15T08:00:00.000Z",
        "targets": {"up": 1, "down": 0, "unknown": 0},
        "alerts": {"firing": 0, "pending": 0},
        "gpus": [],
        "attention": [],
        "observe_only": False,
        "warnings": [],
    }
    assert [(m["name"], m["stable"], m["can_promote"]) for m in models] == [("chat", "v1", True)]


async def test_models(viewer: httpx.AsyncClient) -> None:
    (listed,) = (await viewer.get("/cp/v1/models")).json()["items"]
    assert (await viewer.get("/cp/v1/models/chat")).json() == listed
    assert listed["versions"][0]["latency_p99_seconds"] is None
    missing = await viewer.get("/cp/v1/models/chatt")
    assert missing.status_code == 404
    assert missing.json()["detail"] == "model 'chatt' is not in fleet.yaml; its models: chat"


async def test_targets(viewer: httpx.AsyncClient) -> None:
    (target,) = (await viewer.get("/cp/v1/targets")).json()["items"]
    assert target["last_scrape_at"] == "2027-01-15T07:59:55.000Z"
    assert target["labels"] == {"job": "vllm", "model": "chat"}


async def rollouts_of(client: httpx.AsyncClient) -> list[str]:
    return [r["id"] for r in (await client.get("/cp/v1/rollouts")).json()["items"]]


async def test_promote_once_per_key(operator: httpx.AsyncClient) -> None:
    body = {"model": "chat", "version": "v2"}
    first = await operator.post("/cp/v1/rollouts", json=body, headers=KEY)
    again = await operator.post("/cp/v1/rollouts", json=body, headers=KEY)
    assert first.status_code == again.status_code == 202
    shown = first.json()
    assert again.json() == shown
    assert first.headers["location"] == f"/cp/v1/rollouts/{shown['id']}"
    assert {name: shown[name] for name in ("model", "from", "to", "kind", "strategy", "phase", "created_by")} == {
        "model": "chat",
        "from": "v1",
        "to": "v2",
        "kind": "promote",
        "strategy": "blue-green",
        "phase": "planned",
        "created_by": "test-operator",
    }
    assert (shown["finished"], shown["ok"], shown["switched"], shown["finished_at"]) == (False, None, False, None)
    detail = (await operator.get(first.headers["location"])).json()
    assert [(e["at"], e["phase"]) for e in detail["events"]] == [("2027-01-15T08:00:00.000Z", "planned")]
    assert [step["state"] for step in detail["progress"]["steps"]] == ["current", "ahead", "ahead", "ahead", "ahead"]
    assert detail | {"events": [], "progress": None} == shown
    assert await rollouts_of(operator) == [shown["id"]]


async def test_the_page_shows_a_rollout_at_once(operator: httpx.AsyncClient) -> None:
    assert (await operator.get("/cp/v1/models/chat")).json()["can_promote"] is True
    started = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})
    model = (await operator.get("/cp/v1/models/chat")).json()
    assert model["can_promote"] is False
    assert model["rollout"]["id"] == started.json()["id"]
    assert [v["role"] for v in model["versions"]] == ["stable", "candidate", "idle"]


async def test_a_second_rollout_of_a_model_is_refused(operator: httpx.AsyncClient) -> None:
    first = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})
    second = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})
    assert second.status_code == 409
    assert first.json()["id"] in second.json()["reasons"][0]


async def test_a_key_that_stood_for_something_else_is_a_conflict(operator: httpx.AsyncClient) -> None:
    await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"}, headers=KEY)
    other = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v3"}, headers=KEY)
    assert other.status_code == 409
    assert other.json()["type"] == "urn:controlplane:problem:conflict"


async def test_a_dry_run_answers_the_plan_and_moves_nothing(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2", "dry_run": True})
    assert answer.status_code == 200
    plan = answer.json()
    assert plan.keys() == {"model", "from", "to", "strategy", "steps", "left", "rollback", "notes"}
    assert (plan["from"], plan["to"]) == ("v1", "v2")
    assert plan["steps"][0].startswith("load v2 beside v1 on http://a:8000")
    assert await rollouts_of(operator) == []


async def test_there_is_nothing_to_roll_back_to_at_first(operator: httpx.AsyncClient) -> None:
    for body in (None, {}, {"dry_run": True}):
        answer = await operator.post("/cp/v1/models/chat/rollback", json=body)
        assert answer.status_code == 409
        assert "nothing to roll back to" in answer.json()["detail"]


async def test_rollback_and_abort_turn_a_running_rollout_back(rig: Any, operator: httpx.AsyncClient) -> None:
    started = (await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})).json()
    aborted = await operator.post(f"/cp/v1/rollouts/{started['id']}/abort")
    back = await operator.post("/cp/v1/models/chat/rollback", headers=KEY)
    assert (aborted.status_code, back.status_code) == (202, 202)
    assert aborted.json()["id"] == back.json()["id"] == started["id"]
    events = (await operator.get(f"/cp/v1/rollouts/{started['id']}")).json()["events"]
    assert [e["sentence"] for e in events][1:] == ["Aborted by test-operator."]


async def test_a_rollout_that_cannot_be_read_is_shown_and_closed(rig: Any, operator: httpx.AsyncClient) -> None:
    started = (await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})).json()
    close = f"/cp/v1/rollouts/{started['id']}/close"
    assert (await operator.post(close)).status_code == 409
    with rig.db.transaction() as session:
        session.execute(text("UPDATE rollout SET state = 'no json'"))
    (listed,) = (await operator.get("/cp/v1/rollouts")).json()["items"]
    assert "cannot be read and is left as it is (it is no JSON ('no json') and not an object)" in listed["sentence"]
    assert [need["need"] for need in (await operator.get("/cp/v1/fleet")).json()["attention"]] == ["person"]
    refused = await operator.post(close.replace("close", "abort"))
    assert (refused.status_code, f"cp rollouts close {started['id']}" in refused.text) == (500, True)
    closed = await operator.post(close)
    assert closed.status_code == 202
    assert (closed.json()["phase"], closed.json()["finished"], closed.json()["ok"]) == ("failed", True, False)
    again = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})
    assert again.status_code == 202


async def test_an_unknown_rollout_is_not_found(operator: httpx.AsyncClient) -> None:
    assert (await operator.get("/cp/v1/rollouts/r-0")).status_code == 404
    assert (await operator.post("/cp/v1/rollouts/r-0/abort")).status_code == 404


@pytest.mark.parametrize("key", ["", "a b", "a" * 129, "schlüssel", "a\tb", "a;b"])
async def test_a_bad_idempotency_key_is_refused(operator: httpx.AsyncClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    answer = await operator.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"}, headers=headers)
    assert answer.status_code == 400
    assert await rollouts_of(operator) == []


@pytest.mark.parametrize(
    "body",
    [
        {"model": "chat"},
        {"model": "chat", "version": "v2", "strategy": "yolo"},
        {"model": "chat", "version": "../v2"},
        {"model": "a" * 64, "version": "v2"},
        {"model": "chat", "version": "v2", "extra": 1},
        {"model": ["chat"], "version": "v2"},
        [],
        None,
    ],
)
async def test_a_bad_promotion_is_refused(operator: httpx.AsyncClient, body: Any) -> None:
    assert (await operator.post("/cp/v1/rollouts", json=body)).status_code == 400
    assert await rollouts_of(operator) == []


async def test_observe_only_never_acts_and_says_why(rig: Any) -> None:
    rig.observe_only()
    async with rig.client(Role.OPERATOR) as client:
        answer = await client.post("/cp/v1/rollouts", json={"model": "chat", "version": "v2"})
        aborted = await client.post("/cp/v1/rollouts/r-0/abort")
        model = (await client.get("/cp/v1/models/chat")).json()
        assert await rollouts_of(client) == []
    assert (answer.status_code, aborted.status_code) == (409, 409)
    assert "--observe-only" in answer.json()["reasons"][0]
    assert model["can_promote"] is False


@pytest.mark.parametrize(
    "path",
    [
        "/cp/v1/rollouts?limit=0",
        "/cp/v1/rollouts?limit=501",
        "/cp/v1/rollouts?model=a%20b",
        "/cp/v1/rollouts/a%20b",
        "/cp/v1/models/-x",
        "/cp/v1/alerts?state=on",
        "/cp/v1/alerts/XYZ",
        "/cp/v1/notifications?limit=-1",
    ],
)
async def test_bad_parameters_are_refused(viewer: httpx.AsyncClient, path: str) -> None:
    assert (await viewer.get(path)).status_code == 400


def alert(name: str, state: AlertState, at: float, **changes: Any) -> AlertInstance:
    labels = labels_of({"alertname": name, "severity": "warning", "model": "chat"})
    return replace(AlertInstance(f"f;g;{name}", labels, (), state, 1.0, at, fired_at=at), **changes)


def record(rig: Any, *alerts: AlertInstance, before: AlertState, at: float) -> None:
    for instance in alerts:
        word = f"{before} to {instance.state}"
        kept = [instance] if instance.state is not AlertState.INACTIVE else []
        rig.alert_log.record(instance.rule, kept, [Transition(instance, before, instance.state, at, word)])


async def test_alerts_by_state(rig: Any, viewer: httpx.AsyncClient) -> None:
    now = rig.clock.time
    firing, pending = alert("Hot", AlertState.FIRING, now), alert("Slow", AlertState.PENDING, now, fired_at=None)
    over = alert("Down", AlertState.INACTIVE, now - 60, resolved_at=now)
    back = replace(firing, state=AlertState.INACTIVE, resolved_at=now - 30)
    record(rig, over, before=AlertState.FIRING, at=now)
    record(rig, over, back, before=AlertState.FIRING, at=now)
    record(rig, firing, pending, before=AlertState.INACTIVE, at=now)

    async def names(state: str, limit: int = 1000) -> list[tuple[str, str]]:
        items = (await viewer.get("/cp/v1/alerts", params={"state": state, "limit": limit})).json()["items"]
        return [(a["name"], a["state"]) for a in items]

    default = (await viewer.get("/cp/v1/alerts")).json()["items"]
    assert [a["name"] for a in default] == ["Hot", "Slow"]
    assert await names("active") == [("Hot", "firing"), ("Slow", "pending")]
    assert await names("firing") == [("Hot", "firing")]
    assert await names("pending") == [("Slow", "pending")]
    assert await names("resolved") == [("Down", "resolved")]
    assert await names("all") == [("Hot", "firing"), ("Slow", "pending"), ("Down", "resolved")]
    assert await names("all", 2) == [("Hot", "firing"), ("Slow", "pending")]
    assert await names("active", 1) == [("Hot", "firing")]


async def test_alerts_by_label(rig: Any, viewer: httpx.AsyncClient) -> None:
    now = rig.clock.time
    hot, slow = alert("Hot", AlertState.FIRING, now), alert("Slow", AlertState.PENDING, now, fired_at=None)
    over = alert("Down", AlertState.INACTIVE, now - 60, resolved_at=now)
    record(rig, over, before=AlertState.FIRING, at=now)
    record(rig, hot, slow, before=AlertState.INACTIVE, at=now)

    async def names(label: str, **more: Any) -> list[str]:
        answer = await viewer.get("/cp/v1/alerts", params={"state": "all", "label": label, **more})
        assert answer.status_code == 200, answer.text
        return [one["name"] for one in answer.json()["items"]]

    assert await names('alertname="Slow"') == ["Slow"]
    assert await names("alertname=Down") == ["Down"]
    assert await names("alertname!=Hot", limit=1) == ["Slow"]
    assert await names("alertname=~Hot|Down, alertname!=Hot") == ["Down"]
    assert await names(" ") == ["Hot", "Slow", "Down"]
    for wrong in ("alertname", 'alertname=~"("', "x" * 1001):
        answer = await viewer.get("/cp/v1/alerts", params={"label": wrong})
        assert (answer.status_code, "label" in answer.text) == (400, True), wrong


async def test_an_alert_whose_targets_are_away_is_unknown(rig: Any, viewer: httpx.AsyncClient) -> None:
    now = rig.clock.time
    unknown = replace(alert("Hot", AlertState.FIRING, now), unknown_since=now, away=("dcgm/n1:9400",))
    record(rig, unknown, before=AlertState.FIRING, at=now)
    (shown,) = (await viewer.get("/cp/v1/alerts")).json()["items"]
    assert (shown["state"], shown["unknown_since"], shown["away"]) == (
        "firing",
        "2027-01-15T08:00:00.000Z",
        ["dcgm/n1:9400"],
    )


async def test_one_alert_with_its_history(rig: Any, viewer: httpx.AsyncClient) -> None:
    firing = alert("Hot", AlertState.FIRING, rig.clock.time)
    record(rig, firing, before=AlertState.PENDING, at=rig.clock.time)
    shown = (await viewer.get(f"/cp/v1/alerts/{firing.fingerprint}")).json()
    assert shown["name"] == "Hot"
    assert shown["history"] == [
        {"at": "2027-01-15T08:00:00.000Z", "before": "pending", "after": "firing", "sentence": "pending to firing"}
    ]
    assert (await viewer.get("/cp/v1/alerts/0123456789abcdef")).status_code == 404


async def test_notifications_tell_a_retry_from_a_first_try(rig: Any, viewer: httpx.AsyncClient) -> None:
    now = rig.clock.time
    with rig.db.transaction() as session:
        for number in range(4):
            enqueue(session, "alert", "ops", f"m{number}", {"summary": f"alert {number}"}, now)
    sent, failed, dead, _ = rig.outbox.claim("me", now, 60.0, 4)
    rig.outbox.done(sent, None, now + 1)
    rig.outbox.retry(failed, "429", now + 30)
    rig.outbox.dead(dead, "channel_not_found", now + 1)
    items = (await viewer.get("/cp/v1/notifications", params={"limit": 10})).json()["items"]
    assert [(i["id"], i["status"], i["sent_at"], i["error"]) for i in items] == [
        ("m3", "queued", None, None),
        ("m2", "dead", None, "channel_not_found"),
        ("m1", "retrying", None, "429"),
        ("m0", "sent", "2027-01-15T08:00:01.000Z", None),
    ]
    assert items[3]["summary"] == "alert 0"
    assert [item["next_at"] for item in items] == [None, None, "2027-01-15T08:00:30.000Z", None]
    assert [entry.message_id for entry in rig.outbox.troubles(10)] == ["m2", "m1"], "the given up first"
    assert (await viewer.get("/cp/v1/notifiers")).json()["items"] == [
        {"name": "ops", "last_sent_at": "2027-01-15T08:00:01.000Z", "waiting": 2, "given_up": 1}
    ]


async def test_a_notifier_without_messages_has_no_delivery(viewer: httpx.AsyncClient) -> None:
    (one,) = (await viewer.get("/cp/v1/notifiers")).json()["items"]
    assert one == {"name": "ops", "last_sent_at": None, "waiting": 0, "given_up": 0}


async def test_a_notifier_is_tested_at_once(rig: Any, operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/cp/v1/notifiers/ops/test")
    assert answer.json() == {"result": "ops: delivered (C123/1.5)"}
    (message,) = rig.notifier.sent
    assert dict(message.firing[0].annotations)["summary"] == "Test message, sent by test-operator. Nothing is wrong."
    rig.notifier.error = DeliveryFailed("slack says invalid_auth", permanent=True)
    failed = await operator.post("/cp/v1/notifiers/ops/test")
    assert (failed.status_code, failed.json()["detail"]) == (502, "slack says invalid_auth")
    unknown = await operator.post("/cp/v1/notifiers/dev/test")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "there is no notifier dev; fleet.yaml declares ops")


async def test_a_test_resolves_the_incident_that_it_opens(rig: Any, operator: httpx.AsyncClient) -> None:
    rig.notifier.opens_incidents = True
    answer = await operator.post("/cp/v1/notifiers/ops/test")
    assert answer.json() == {"result": "ops: delivered (C123/1.5)"}
    firing, resolved = rig.notifier.sent
    assert (firing.status, resolved.status, resolved.firing) == ("firing", "resolved", ())
    assert resolved.resolved[0].labels == firing.firing[0].labels
    assert resolved.group_key == firing.group_key
    odd = await operator.post("/cp/v1/notifiers/team%20x%2Fslack%5B1%5D/test")
    assert odd.json()["detail"] == "there is no notifier team x/slack[1]; fleet.yaml declares ops"


async def test_the_life_of_a_token(rig: Any, admin: httpx.AsyncClient) -> None:
    made = await admin.post("/cp/v1/tokens", json={"name": "ci", "role": "viewer", "expires_in": "30d"})
    assert made.status_code == 201
    body = made.json()
    text = body.pop("token")
    assert body == {
        "id": body["id"],
        "name": "ci",
        "role": "viewer",
        "live": True,
        "created_at": "2027-01-15T08:00:00.000Z",
        "created_by": "test-admin",
        "expires_at": "2027-02-14T08:00:00.000Z",
        "revoked_at": None,
        "last_used_at": None,
    }
    bearer = {"Authorization": f"Bearer {text}"}
    whoami = await admin.get("/cp/v1/whoami", headers=bearer)
    assert whoami.json() == {"name": "ci", "role": "viewer", "token_id": body["id"]}
    listed = await admin.get("/cp/v1/tokens")
    assert text not in listed.text
    assert {t["name"] for t in listed.json()["items"]} == {"ci", *(f"test-{role}" for role in Role)}
    assert (await admin.delete(f"/cp/v1/tokens/{body['id']}")).status_code == 204
    assert (await admin.get("/cp/v1/whoami", headers=bearer)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ci", "role": "root"},
        {"name": "ci", "role": "viewer", "expires_in": "soon"},
        {"name": "ci", "role": "viewer", "expires_in": "0s"},
        {"name": "ci", "role": "viewer", "expires_in": "900y"},
        {"name": "", "role": "viewer"},
        {"name": "ci", "role": "viewer", "admin": True},
    ],
)
async def test_a_bad_token_request_is_refused(admin: httpx.AsyncClient, body: Any) -> None:
    assert (await admin.post("/cp/v1/tokens", json=body)).status_code == 400


async def test_the_last_admin_cannot_lock_everybody_out(rig: Any, admin: httpx.AsyncClient) -> None:
    own = (await admin.get("/cp/v1/whoami")).json()["token_id"]
    assert (await admin.delete(f"/cp/v1/tokens/{own}")).status_code == 409


async def test_reload(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/cp/v1/config/reload")).json() == {"changes": ["added target b:8000"]}


async def test_openapi_describes_every_route_of_ours(rig: Any, viewer: httpx.AsyncClient) -> None:
    document = (await viewer.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    paths = {route.path_format for route in rig.app().routes if route.include_in_schema}
    assert set(document["paths"]) == paths
    promote = document["paths"]["/cp/v1/rollouts"]["post"]
    assert promote["x-required-role"] == "operator"
    assert promote["security"] == [{"token": []}, {"session": []}]
    assert set(promote["responses"]) == {"200", "202", "default"}
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}


def with_slo(rig: Rig) -> None:
    chat = rig.config.models[0]
    slo = SloSection(name="up", objective=99.9, availability=Availability())
    rig.config = rig.config.model_copy(update={"models": (chat.model_copy(update={"slos": (slo,)}),)})


async def test_slos(rig: Rig, viewer: httpx.AsyncClient) -> None:
    assert (await viewer.get("/cp/v1/slos")).json()["items"] == []
    with_slo(rig)
    (slo,) = (await viewer.get("/cp/v1/slos", params={"model": "chat"})).json()["items"]
    assert (slo["model"], slo["name"], slo["objective_percent"], slo["window_seconds"]) == ("chat", "up", 99.9, 2592000)
    assert (slo["state"], slo["budget_remaining_ratio"], slo["burn_rate"]) == ("unknown", None, None)
    assert (await viewer.get("/cp/v1/slos", params={"model": "other"})).json()["items"] == []
    assert (await viewer.get("/cp/v1/slos", params={"model": "a b"})).status_code == 400
