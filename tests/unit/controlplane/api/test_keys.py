from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.gateway.desired.codec import decode
from controlplane.gateway.desired.document import LimitSpec

KEYS = "/cp/v1/keys"
WANTED = {
    "name": "ci",
    "tenant": "search",
    "role": "tester",
    "models": ["chat", "chat"],
    "limits": {"requests_per_minute": 60, "daily_usd": 1.5},
    "priority": -1,
    "expires_in": "30d",
}
NO_LIMITS = dict.fromkeys(
    (
        "requests_per_minute",
        "tokens_per_minute",
        "concurrent",
        "daily_tokens",
        "monthly_tokens",
        "daily_usd",
        "monthly_usd",
    )
)


async def test_a_key_is_made_shown_changed_and_revoked(rig: Any) -> None:
    async with rig.client(Role.ADMIN) as admin:
        answer = await admin.post(KEYS, json=WANTED)
        assert answer.status_code == 201
        made = answer.json()
        text = made.pop("key")
        assert text.startswith(made["prefix"]) and made["live"]
        assert (made["models"], made["role"], made["priority"]) == (["chat"], "tester", -1)
        assert made["limits"] == {**NO_LIMITS, "requests_per_minute": 60, "daily_usd": 1.5}
        assert made["created_by"] == "test-admin" and made["expires_at"] is not None
        one = f"{KEYS}/{made['id']}"
        assert (await admin.get(one)).json() == made

        changes = {"requests_per_minute": None, "concurrent": 2}
        changed = (await admin.post(f"{one}/limits", json=changes)).json()
        assert changed == {**made, "limits": {**NO_LIMITS, "daily_usd": 1.5, "concurrent": 2}}

        assert (await admin.delete(one)).status_code == 204
        gone = (await admin.get(one)).json()
        assert not gone["live"] and gone["revoked_at"] is not None
        assert (await admin.post(f"{one}/limits", json=changes)).status_code == 409


async def test_a_viewer_reads_no_secret_and_no_digest(rig: Any) -> None:
    async with rig.client(Role.ADMIN) as admin:
        text = (await admin.post(KEYS, json=WANTED)).json()["key"]
        await admin.post(KEYS, json={"name": "ci", "tenant": "chat"})
    async with rig.client(Role.VIEWER) as viewer:
        answer = await viewer.get(KEYS)
        assert {item["tenant"] for item in answer.json()["items"]} == {"search", "chat"}
        assert [item["tenant"] for item in (await viewer.get(f"{KEYS}?tenant=chat")).json()["items"]] == ["chat"]
        digest = next(key.digest for key in rig.keys.specs(rig.clock.time) if key.role == "tester")
        assert text.split("_", 2)[2] not in answer.text and digest not in answer.text
        assert (await viewer.post(KEYS, json=WANTED)).status_code == 403


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("name", "", "name"),
        ("name", "a b", "name"),
        ("tenant", "../x", "tenant"),
        ("role", "admin", "role"),
        ("models", [], "models"),
        ("models", ["x"] * 101, "models"),
        ("priority", 101, "priority"),
        ("expires_in", "0s", "expires_in"),
        ("expires_in", "11y", "expires_in"),
        ("limits", {"requests_per_minute": 0}, "requests_per_minute"),
        ("limits", {"requests_per_minute": 1.5}, "requests_per_minute"),
        ("limits", {"requests_per_minute": True}, "requests_per_minute"),
        ("limits", {"requests_per_minute": "60"}, "requests_per_minute"),
        ("limits", {"daily_usd": -1}, "daily_usd"),
        ("limits", {"daily_usd": True}, "daily_usd"),
        ("limits", {"daily_usd": "1"}, "daily_usd"),
        ("limits", {"rpm": 1}, "rpm"),
        ("secret", "mine", "secret"),
    ],
)
async def test_a_wrong_property_is_refused_by_name(rig: Any, field: str, value: Any, named: str) -> None:
    async with rig.client(Role.ADMIN) as admin:
        answer = await admin.post(KEYS, json={**WANTED, field: value})
    assert answer.status_code == 400 and named in answer.text


async def test_a_whole_number_may_be_written_with_a_point(rig: Any) -> None:
    async with rig.client(Role.ADMIN) as admin:
        made = (await admin.post(KEYS, json={**WANTED, "priority": -5.0, "limits": {"concurrent": 4.0}})).json()
    assert made["priority"] == -5 and made["limits"]["concurrent"] == 4


async def test_a_change_names_a_limit(rig: Any) -> None:
    async with rig.client(Role.ADMIN) as admin:
        one = (await admin.post(KEYS, json=WANTED)).json()["id"]
        for body in ({}, {"concurrent": 0}, {"rpm": 1}):
            assert (await admin.post(f"{KEYS}/{one}/limits", json=body)).status_code == 400


async def test_a_second_key_of_a_name_and_unknown_keys(rig: Any) -> None:
    async with rig.client(Role.ADMIN) as admin:
        assert (await admin.post(KEYS, json=WANTED)).status_code == 201
        assert (await admin.post(KEYS, json=WANTED)).status_code == 409
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/limits")):
            answer = await admin.request(method, f"{KEYS}/0123456789ab{path}", json={"concurrent": 1})
            assert answer.status_code == 404
        assert (await admin.get(f"{KEYS}/cpk_secret")).status_code == 400


async def test_a_change_of_keys_ends_the_gateways_wait(rig: Any) -> None:
    async with rig.client(Role.ADMIN) as admin, rig.client(Role.GATEWAY) as gateway:
        one = (await admin.post(KEYS, json=WANTED)).json()["id"]
        state = decode((await gateway.get("/cp/v1/gateways/desired", params={"name": "g1"})).content)
        for change in ("limits", "revoke"):
            query = {"name": "g1", "revision": state.revision, "wait": 30}
            waiting = asyncio.create_task(gateway.get("/cp/v1/gateways/desired", params=query))
            async with asyncio.timeout(60):
                while not rig.gateways.feed.waiting:  # noqa: ASYNC110 - the server's state has no event
                    await asyncio.sleep(0.005)
                if change == "limits":
                    await admin.post(f"{KEYS}/{one}/limits", json={"concurrent": 7})
                else:
                    await admin.delete(f"{KEYS}/{one}")
                state = decode((await waiting).content)
            expected = [LimitSpec(requests_per_minute=60, daily_usd=1.5, concurrent=7)] if change == "limits" else []
            assert [key.limits for key in state.keys] == expected
