"""Silences and acknowledgements over HTTP: what is made, who may, and what alerts show of it."""

from __future__ import annotations

from typing import Any

import pytest

from alerts.interfaces import AlertState
from controlplane.access.roles import Role
from controlplane.store.audit import AuditStore
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.api.interop.test_alertmanager import fire

SILENCES = "/cp/v1/silences"
CHAT = {"matchers": ['model="chat"'], "for": "2h", "comment": "new driver"}


async def test_a_silence_is_made_shown_extended_and_ended(rig: Any) -> None:
    fire(rig, alertname="Down", severity="critical", model="chat")
    fire(rig, alertname="Gone", severity="critical", model="code")
    async with rig.client(Role.OPERATOR) as client:
        made = await client.post(SILENCES, json=CHAT)
        assert made.status_code == 201, made.text
        silence = made.json()
        identifier = silence.pop("id")
        assert made.headers["location"] == f"{SILENCES}/{identifier}"
        assert silence == {
            "state": "active",
            "matchers": ['model="chat"'],
            "starts_at": "2027-01-15T08:00:00.000Z",
            "ends_at": "2027-01-15T10:00:00.000Z",
            "created_by": "test-operator",
            "owner": "test-operator",
            "comment": "new driver",
            "created_at": "2027-01-15T08:00:00.000Z",
            "updated_at": "2027-01-15T08:00:00.000Z",
            "mutes": 1,
            "reminded_at": None,
        }
        shown = {a["labels"]["model"]: a["held_back"] for a in (await client.get("/cp/v1/alerts")).json()["items"]}
        assert shown == {
            "chat": [
                {
                    "stage": "silence",
                    "sentence": f"silenced by {identifier} of test-operator: new driver",
                    "by": [identifier],
                }
            ],
            "code": [],
        }
        rig.clock.time = NOW + 3600
        extended = (await client.post(f"{SILENCES}/{identifier}/extend", json={"for": "4h"})).json()
        assert extended["ends_at"] == "2027-01-15T13:00:00.000Z"
        shorter = await client.post(f"{SILENCES}/{identifier}/extend", json={"for": "1h"})
        assert shorter.status_code == 409
        assert f"`cp silences expire {identifier}` ends it now" in shorter.json()["detail"]
        ended = await client.post(f"{SILENCES}/{identifier}/expire", json={"comment": "the driver is in"})
        again = await client.post(f"{SILENCES}/{identifier}/expire")
        assert (ended.json()["state"], again.json()) == ("expired", ended.json())
        over = await client.post(f"{SILENCES}/{identifier}/extend", json={"for": "1h"})
        assert (over.status_code, "make a new one" in over.json()["detail"]) == (409, True)
        assert (await client.get(SILENCES)).json() == {"items": []}
        assert [s["id"] for s in (await client.get(SILENCES, params={"state": "all"})).json()["items"]] == [identifier]
    acts = [(act.actor, act.action, act.detail) for act in AuditStore(rig.db).recent(9)]
    assert acts[:3] == [
        ("test-operator", "silence.expire", "the driver is in"),
        ("test-operator", "silence.extend", "it ends in 4h"),
        ("test-operator", "silence.create", '{model="chat"} until 2027-01-15T10:00:00.000Z: new driver'),
    ]


async def test_a_repeated_key_makes_one_silence(rig: Any) -> None:
    async with rig.client(Role.OPERATOR) as client:
        headers = {"Idempotency-Key": "k1"}
        one = await client.post(SILENCES, json=CHAT, headers=headers)
        rig.clock.time = NOW + 5
        other = await client.post(SILENCES, json=CHAT, headers=headers)
        assert one.json()["id"] == other.json()["id"]
        wrong = await client.post(SILENCES, json=CHAT | {"comment": "other"}, headers=headers)
        assert (wrong.status_code, "used for another request" in wrong.json()["detail"]) == (409, True)
        assert len((await client.get(SILENCES)).json()["items"]) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matchers": ["model=~.+"]}, "a silence without an equality matcher"),
        ({"matchers": ["model!=chat", "severity!~a", 'node!=""']}, "a silence without an equality matcher"),
        ({"for": "31d"}, "a silence of more than 30d needs an admin"),
    ],
)
async def test_wide_and_long_silences_need_an_admin(rig: Any, change: dict[str, Any], said: str) -> None:
    async with rig.client(Role.OPERATOR) as client:
        refused = await client.post(SILENCES, json=CHAT | change)
        assert refused.status_code == 403
        assert said in refused.json()["detail"]
    async with rig.client(Role.ADMIN) as client:
        made = await client.post(SILENCES, json=CHAT | change)
        assert made.status_code == 201, made.text
    async with rig.client(Role.OPERATOR) as client:
        preview = await client.post("/cp/v1/silence-preview", json={"matchers": (CHAT | change)["matchers"]})
        assert preview.json()["needs_admin"] is ("for" not in change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matchers": []}, "matchers"),
        ({"matchers": ["model=~.*"]}, "this silence would match all"),
        ({"matchers": ["model=("]}, None),
        ({"matchers": ["model=~("]}, "matchers: model=~"),
        ({"matchers": ["model"]}, "expected one of"),
        ({"matchers": ["a=b"] * 21}, "20"),
        ({"comment": ""}, "comment"),
        ({"comment": "  "}, "comment"),
        ({"for": None}, "either `for`"),
        ({"ends_at": "2027-01-15T09:00:00Z"}, "either `for`"),
        ({"for": None, "ends_at": "2027-01-15T07:00:00Z"}, "must end after it begins"),
        ({"for": "400d"}, "for"),
        ({"for": "-1h"}, "for"),
        ({"starts_in": "1h", "starts_at": "2027-01-15T09:00:00Z"}, "either `starts_at`"),
        ({"starts_at": "2h"}, "starts_at"),
        ({"surplus": 1}, "surplus"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_made(rig: Any, change: dict[str, Any], said: str | None) -> None:
    async with rig.client(Role.ADMIN) as client:
        answer = await client.post(SILENCES, json=CHAT | change)
        if said is None:
            assert answer.status_code == 201
            return
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["detail"]
        assert (await client.get(SILENCES, params={"state": "all"})).json() == {"items": []}


async def test_a_window_of_maintenance_begins_later(rig: Any) -> None:
    fire(rig, alertname="Down", severity="critical", model="chat")
    async with rig.client(Role.OPERATOR) as client:
        window = (await client.post(SILENCES, json=CHAT | {"starts_at": "2027-01-15T22:00:00Z"})).json()
        relative = (await client.post(SILENCES, json=CHAT | {"starts_in": "1h"})).json()
        assert (window["state"], window["ends_at"]) == ("pending", "2027-01-16T00:00:00.000Z")
        assert (relative["starts_at"], relative["ends_at"]) == ("2027-01-15T09:00:00.000Z", "2027-01-15T11:00:00.000Z")
        (alert,) = (await client.get("/cp/v1/alerts")).json()["items"]
        assert alert["held_back"] == []
        rig.clock.time = NOW + 14 * 3600
        (alert,) = (await client.get("/cp/v1/alerts")).json()["items"]
        assert [one["by"] for one in alert["held_back"]] == [[window["id"]]]
        ended = (await client.post(f"{SILENCES}/{relative['id']}/expire")).json()
        assert ended["ends_at"] == relative["ends_at"], "an expired silence stays as it was"


async def test_a_preview_names_alerts_and_changes_nothing(rig: Any) -> None:
    fire(rig, alertname="Down", severity="critical", model="chat")
    fire(rig, AlertState.PENDING, alertname="Slow", severity="warning", model="chat")
    fire(rig, alertname="Gone", severity="critical", model="code")
    async with rig.client(Role.VIEWER) as client:
        preview = (await client.post("/cp/v1/silence-preview", json={"matchers": ["model=chat"]})).json()
        assert [(a["name"], a["state"]) for a in preview["alerts"]] == [("Down", "firing"), ("Slow", "pending")]
        assert (preview["total"], preview["groups"], preview["needs_admin"]) == (2, [], False)
        assert (await client.get(SILENCES)).json() == {"items": []}


async def test_an_alert_is_acknowledged_snoozed_and_given_back(rig: Any) -> None:
    fingerprint = fire(rig, alertname="Down", severity="critical", model="chat").fingerprint
    path = f"/cp/v1/alerts/{fingerprint}"
    async with rig.client(Role.OPERATOR) as client:
        taken = (await client.post(f"{path}/acknowledge", json={"comment": "I look at it"})).json()
        rig.clock.time = NOW + 60
        again = (await client.post(f"{path}/acknowledge", json={"comment": "I look at it"})).json()
        assert (
            taken["acknowledged"]
            == again["acknowledged"]
            == {
                "by": "test-operator",
                "at": "2027-01-15T08:00:00.000Z",
                "until": None,
                "comment": "I look at it",
            }
        )
        assert [(one["stage"], one["sentence"]) for one in taken["held_back"]] == [
            ("acknowledgement", "acknowledged by test-operator")
        ]
        snoozed = (await client.post(f"{path}/snooze", json={"for": "1h"})).json()
        assert snoozed["acknowledged"]["until"] == "2027-01-15T09:01:00.000Z"
        assert snoozed["held_back"][0]["sentence"] == "snoozed by test-operator"
        rig.clock.time = NOW + 3660
        assert (await client.get(path)).json()["acknowledged"] is None, "a snooze ends by itself"
        await client.post(f"{path}/acknowledge")
        given = (await client.post(f"{path}/unacknowledge")).json()
        assert (given["acknowledged"], given["held_back"]) == (None, [])
        assert (await client.post(f"{path}/unacknowledge")).status_code == 200
    acts = [(act.action, act.subject, act.detail) for act in AuditStore(rig.db).recent(4)]
    assert acts == [
        ("alert.unacknowledge", f"alert/{fingerprint}", "Down"),
        ("alert.acknowledge", f"alert/{fingerprint}", "Down until it resolves"),
        ("alert.snooze", f"alert/{fingerprint}", "Down for 1h"),
        ("alert.acknowledge", f"alert/{fingerprint}", "Down until it resolves: I look at it"),
    ]


async def test_only_a_firing_alert_can_be_acknowledged(rig: Any) -> None:
    pending = fire(rig, AlertState.PENDING, alertname="Slow", severity="warning").fingerprint
    async with rig.client(Role.OPERATOR) as client:
        early = await client.post(f"/cp/v1/alerts/{pending}/acknowledge")
        unknown = await client.post("/cp/v1/alerts/0123456789abcdef/acknowledge")
        long = await client.post(f"/cp/v1/alerts/{pending}/snooze", json={"for": "31d"})
    assert (early.status_code, early.json()["detail"]) == (
        409,
        f"alert {pending} is pending: only a firing alert can be acknowledged",
    )
    assert unknown.status_code == 404
    assert long.status_code == 400
