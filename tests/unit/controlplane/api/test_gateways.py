"""Routes of gateways: the desired state, reports, and the list for people."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from controlplane.access.gateway_keys import KeyProperties
from controlplane.access.roles import Role
from controlplane.config.model import Fleet
from controlplane.gateway.desired.codec import decode
from controlplane.store import gateways
from controlplane.store.assignments import AssignmentStore
from tests.patience import HANG_S

DESIRED, REPORT = "/cp/v1/gateways/desired", "/cp/v1/gateways/report"
CONFIG = Fleet.model_validate(
    {
        "fleet": {"name": "prod"},
        "models": [
            {
                "name": "chat",
                "stable": "v1",
                "traffic": {"driver": "gateway"},
                "gateway": {"limits": {"concurrent": 9}},
                "versions": {v: {"backends": [{"url": f"http://{v}:1", "engine": "vllm"}]} for v in ("v1", "v2")},
            }
        ],
    }
)


@pytest.fixture
def sent() -> dict[str, Any]:
    return {
        "format": 1,
        "name": "g1",
        "incarnation": "i-1",
        "version": "1.2.3",
        "listen": "127.0.0.1:8400",
        "workers": 2,
        "ready": True,
        "leaving": False,
        "revision": "abc",
        "models": {"chat": {"generation": 0, "requests": {"v1": 7, "v2": 1}}},
        "open_streams": 3,
        "demand": {"key/a": 0.5},
        "news_of_a_later_release": True,
    }


async def somebody_waits(rig: Any) -> None:
    while not rig.gateways.feed.waiting:  # noqa: ASYNC110 - the server's state has no event
        await asyncio.sleep(0.005)


async def test_a_gateway_fetches_its_state_and_waits_for_the_next(rig: Any) -> None:
    rig.config = CONFIG
    key, _ = rig.keys.create(KeyProperties("ci", "search"), rig.clock.time, by="admin")
    async with rig.client(Role.GATEWAY) as client:
        first = await client.get(DESIRED, params={"name": "g1"})
        assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
        state = decode(first.content)
        assert [key.id for key in state.keys] == [key.id]
        same = {"name": "g1", "revision": state.revision}
        assert (await client.get(DESIRED, params=same)).status_code == 204
        waiting = asyncio.create_task(client.get(DESIRED, params={**same, "wait": 30}))
        async with asyncio.timeout(HANG_S):
            await somebody_waits(rig)
            AssignmentStore(rig.db).assign("chat", {"v2": 1000}, None, "rollout r-1", 0.0)
            answer = await waiting
    assert {v.name: v.weight for v in decode(answer.content).models[0].versions} == {"v1": 0, "v2": 1000}


@pytest.mark.parametrize(
    "query",
    [{}, {"name": "../x"}, {"name": "g", "wait": "31"}, {"name": "g", "wait": "nan"}, {"name": "g", "revision": "a b"}],
)
async def test_a_wrong_query_is_refused(rig: Any, query: dict[str, str]) -> None:
    async with rig.client(Role.GATEWAY) as client:
        assert (await client.get(DESIRED, params=query)).status_code == 400


async def test_a_token_that_is_revoked_during_the_wait_gets_nothing(rig: Any) -> None:
    rig.config = CONFIG
    token, secret = rig.tokens.create("g1", Role.GATEWAY, None, rig.clock.time)
    async with rig.client(None) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        state = decode((await client.get(DESIRED, params={"name": "g1"})).content)
        query = {"name": "g1", "revision": state.revision, "wait": 30}
        waiting = asyncio.create_task(client.get(DESIRED, params=query))
        async with asyncio.timeout(HANG_S):
            await somebody_waits(rig)
            await asyncio.to_thread(rig.tokens.revoke, token.id, rig.clock.time)
            AssignmentStore(rig.db).assign("chat", {"v2": 1000}, None, "rollout r-1", 0.0)
            assert (await waiting).status_code == 401


async def test_a_report_makes_the_gateway_visible_to_people(rig: Any, sent: dict[str, Any]) -> None:
    rig.config = CONFIG
    AssignmentStore(rig.db).assign("chat", {"v2": 1000}, None, "rollout r-1", 0.0)
    async with rig.client(Role.GATEWAY) as client:
        answer = await client.post(REPORT, json=sent)
    assert (answer.status_code, answer.json()) == (200, {"shares": {}, "spent": {}})
    async with rig.client(Role.VIEWER) as client:
        (item,) = (await client.get("/cp/v1/gateways")).json()["items"]
        fleet = (await client.get("/cp/v1/fleet")).json()
    assert item.pop("seen_at")
    assert 0 <= item.pop("age_seconds") < 10
    assert item == {
        "name": "g1",
        "live": True,
        "state": "live",
        "processes": 1,
        "version": "1.2.3",
        "listen": "127.0.0.1:8400",
        "workers": 2,
        "ready": True,
        "revision": "abc",
        "fault": "",
        "open_streams": 3,
        "requests": 8,
        "models": [{"model": "chat", "generation": 0, "assigned": 1, "requests": {"v1": 7, "v2": 1}}],
    }
    assert [(need["model"], need["need"], need["sentence"]) for need in fleet["attention"]] == [
        ("chat", "gateway_behind", "gateway g1 applies generation 0, and 1 is assigned to chat")
    ]


async def test_a_gateway_that_is_silent_refuses_or_left_is_told(rig: Any, sent: dict[str, Any]) -> None:
    rig.config = CONFIG

    async def needs() -> list[tuple[str, str]]:
        async with rig.client(Role.VIEWER) as client:
            return [(n["need"], n["sentence"]) for n in (await client.get("/cp/v1/fleet")).json()["attention"]]

    nobody = "no gateway is live, so chat gets no requests through one; start one: controlplane gateway -c fleet.yaml"
    assert await needs() == [("no_gateway", nobody)]
    async with rig.client(Role.GATEWAY) as client:
        await client.post(REPORT, json={**sent, "fault": "models.chat: the weights add up to 999"})
        assert await needs() == [
            ("gateway_refuses", "gateway g1 keeps its last desired state: models.chat: the weights add up to 999")
        ]
        with rig.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at - 11"))
        assert [need for need, _ in await needs()] == ["gateway_silent", "no_gateway"]
        await client.post(REPORT, json={**sent, "leaving": True})
    assert await needs() == [("no_gateway", nobody)]


async def test_own_metrics_tell_of_silent_gateways_and_of_models_behind(rig: Any, sent: dict[str, Any]) -> None:
    rig.config = CONFIG

    async def metrics() -> list[str]:
        async with rig.client(Role.VIEWER) as client:
            lines = (await client.get("/metrics")).text.splitlines()
        return [line for line in lines if line.startswith(("controlplane_gateway_live", "controlplane_gateway_behind"))]

    assert await metrics() == ['controlplane_gateway_behind{model="chat"} 1.0']
    async with rig.client(Role.GATEWAY) as client:
        await client.post(REPORT, json=sent)
        live = 'controlplane_gateway_live{gateway="g1"}'
        assert await metrics() == [f"{live} 1.0", 'controlplane_gateway_behind{model="chat"} 0.0']
        AssignmentStore(rig.db).assign("chat", {"v2": 1000}, None, "rollout r-1", rig.clock.time - 60)
        assert await metrics() == [f"{live} 1.0", 'controlplane_gateway_behind{model="chat"} 1.0']
        AssignmentStore(rig.db).assign("chat", {"v1": 1000}, None, "rollout r-1", rig.clock.time - 1)
        assert await metrics() == [f"{live} 1.0", 'controlplane_gateway_behind{model="chat"} 0.0']
        with rig.db.transaction() as session:
            session.execute(text("UPDATE gateway SET seen_at = seen_at - 11"))
        assert await metrics() == [f"{live} 0.0", 'controlplane_gateway_behind{model="chat"} 1.0']
        await client.post(REPORT, json={**sent, "leaving": True})
    assert await metrics() == ['controlplane_gateway_behind{model="chat"} 1.0']


async def test_shares_follow_the_demand_of_all_gateways(rig: Any, sent: dict[str, Any]) -> None:
    seen: list[Any] = []

    def divide(demands: Any, limits: Any) -> Any:
        seen.append(({name: dict(demand) for name, demand in demands.items()}, sorted(limits)))
        return {name: {"*": 1 / len(demands)} for name in demands}

    rig.config, rig.gateways._divide = CONFIG, divide
    async with rig.client(Role.GATEWAY) as client:
        await client.post(REPORT, json=sent)
        answer = await client.post(REPORT, json={**sent, "name": "g2", "demand": {}})
        assert answer.json() == {"shares": {"*": 0.5}, "spent": {}}
        assert seen[-1] == ({"g1": {"key/a": 0.5}, "g2": {}}, ["model/chat"])
        assert (await client.post(REPORT, json={**sent, "name": "g2", "leaving": True})).json()["shares"] == {}


async def test_a_gateway_hears_what_it_spent_before_it_lost_its_disk(
    rig: Any, sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "database_now", lambda session: 1_773_144_000.0)
    seen: list[Any] = []

    def divide(demands: Any, limits: Any) -> dict[str, Any]:
        seen.append(demands)
        return {}

    rig.config, rig.gateways._divide = CONFIG, divide
    spent = {"model/chat/daily_tokens": 40.0}
    async with rig.client(Role.GATEWAY) as client:
        await client.post(REPORT, json={**sent, "demand": spent})
        answer = await client.post(REPORT, json={**sent, "demand": {}, "incarnation": "another"})
    assert answer.json() == {"shares": {}, "spent": spent}
    assert seen[-1] == {"g1": spent}, "limits are divided by what it has spent"


@pytest.mark.parametrize(
    "fault",
    [
        {"format": 2},
        {"name": ""},
        {"name": "a b"},
        {"incarnation": "x" * 65},
        {"workers": -1},
        {"models": {"chat": {"generation": -1}}},
        {"models": {"chat": {"generation": 1, "requests": {"v1": 1.5}}}},
        {"models": {f"m{n}": {"generation": 1} for n in range(1001)}},
        {"demand": {"a": -1}},
        {"version": "1\n2"},
        {"fault": "x" * 2001},
    ],
    ids=lambda fault: str(fault)[:40],
)
async def test_a_wrong_report_is_refused_and_not_stored(rig: Any, sent: dict[str, Any], fault: dict[str, Any]) -> None:
    async with rig.client(Role.GATEWAY) as client:
        assert (await client.post(REPORT, json={**sent, **fault})).status_code == 400
        assert (await client.post(REPORT, content=b"x" * (2**20 + 1))).status_code == 413
    assert rig.gateways.views() == ()
