"""Routes of usage: a gateway's batches, and the sums for people and bills."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.config.model import Fleet

POST, GET = "/cp/v1/gateways/usage", "/cp/v1/usage"
CONFIG = Fleet.model_validate(
    {
        "fleet": {"name": "prod"},
        "models": [
            {
                "name": "chat",
                "stable": "v1",
                "traffic": {"driver": "none"},
                "versions": {"v1": {}},
                "gateway": {"price": {"input_usd": 2.0, "output_usd": 10.0, "cached_usd": 0.5}},
            },
            {"name": "free", "stable": "v1", "traffic": {"driver": "none"}, "versions": {"v1": {}}},
        ],
    }
)
AT = 1_790_000_040


ROW = {
    "at": AT,
    "tenant": "acme",
    "key_id": "k1",
    "model": "chat",
    "version": "v1",
    "outcome": "ok",
    "requests": 2,
    "prompt_tokens": 1_000_000,
    "completion_tokens": 100_000,
    "cached_tokens": 200_000,
    "estimated": 1,
    "duration_s": 3.0,
    "first_s": 0.5,
    "streams": 1,
}
NO_TOKENS = {
    "prompt_tokens": 10,
    "completion_tokens": 0,
    "cached_tokens": 0,
    "estimated": 0,
    "first_s": 0.0,
    "streams": 0,
}
OTHER = {"at": AT + 60, "tenant": "beta", "key_id": "k2", "model": "free", "outcome": "error", "requests": 1}
FREE = ROW | NO_TOKENS | OTHER | {"duration_s": 1}


def body(**changes: Any) -> dict[str, Any]:
    return {"format": 1, "gateway": "g1", "journal": "00aa", "first": 1, "length": 3, "rows": [ROW, FREE], **changes}


@pytest.fixture(autouse=True)
def configured(rig: Any) -> None:
    rig.config = CONFIG


async def post(rig: Any, sent: dict[str, Any]) -> Any:
    async with rig.client(Role.GATEWAY) as client:
        return await client.post(POST, json=sent)


async def get(rig: Any, **query: str) -> Any:
    async with rig.client(Role.VIEWER) as client:
        return await client.get(GET, params={"since": str(AT - 60), **query})


async def test_a_batch_is_shown_with_money_by_the_models_price(rig: Any) -> None:
    answer = await post(rig, body())
    assert (answer.status_code, answer.json()) == (200, {"acknowledged": 3})
    page = (await get(rig)).json()
    assert page["by"] == ["tenant", "model"] and not page["truncated"]
    assert page["items"] == [
        {
            "tenant": "acme",
            "model": "chat",
            "requests": 2,
            "prompt_tokens": 1_000_000,
            "completion_tokens": 100_000,
            "cached_tokens": 200_000,
            "estimated_requests": 1,
            "usd": 0.8 * 2.0 + 0.2 * 0.5 + 0.1 * 10.0,
            "mean_duration_seconds": 1.5,
            "mean_first_token_seconds": 0.5,
        },
        {
            "tenant": "beta",
            "model": "free",
            "requests": 1,
            "prompt_tokens": 10,
            "completion_tokens": 0,
            "cached_tokens": 0,
            "estimated_requests": 0,
            "usd": None,
            "mean_duration_seconds": 1.0,
            "mean_first_token_seconds": None,
        },
    ]


async def test_a_batch_that_was_sent_in_part_is_not_added(rig: Any) -> None:
    await post(rig, body())
    assert (await post(rig, body(first=2, length=8))).json() == {"acknowledged": 3}
    assert (await get(rig, by="")).json()["items"][0]["requests"] == 3


async def test_usage_by_time_is_in_its_order(rig: Any) -> None:
    await post(rig, body())
    page = (await get(rig, by="hour,key")).json()
    assert [(item["hour"], item["key"]) for item in page["items"]] == [
        ("2026-09-21T14:00:00.000Z", "k1"),
        ("2026-09-21T14:00:00.000Z", "k2"),
    ]
    (day,) = (await get(rig, by="day")).json()["items"]
    assert (day["day"], day["requests"]) == ("2026-09-21T00:00:00.000Z", 3)


async def test_csv(rig: Any) -> None:
    await post(rig, body())
    answer = await get(rig, by="tenant", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-truncated"] == "false"
    assert answer.text.split("\r\n") == [
        "tenant,requests,prompt_tokens,completion_tokens,cached_tokens,estimated_requests,usd,"
        "mean_duration_seconds,mean_first_token_seconds",
        "acme,2,1000000,100000,200000,1,2.7,1.5,0.5",
        "beta,1,10,0,0,0,,1.0,",
        "",
    ]


async def test_a_page_is_cut_at_its_limit(rig: Any) -> None:
    await post(rig, body())
    page = (await get(rig, limit="1")).json()
    assert ([item["tenant"] for item in page["items"]], page["truncated"]) == (["acme"], True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format"),
        ({"gateway": "a/b"}, "gateway"),
        ({"journal": "../x"}, "journal"),
        ({"first": 0}, "first"),
        ({"length": 0}, "length"),
        ({"first": True}, "first"),
        ({"rows": [{"at": 1}]}, "rows.0.tenant"),
        ({"rows": [{**ROW, "at": -1}]}, "rows.0.at"),
        ({"rows": [{**ROW, "tenant": "a\x00"}]}, "rows.0.tenant"),
        ({"rows": [{**ROW, "streams": -5}]}, "rows.0.streams"),
        ({"rows": [{**ROW, "requests": 2**60}]}, "rows.0.requests"),
        ({"rows": [{**ROW, "requests": 1.5}]}, "rows.0.requests"),
        ({"rows": [ROW] * 2001}, "rows"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused_with_the_place(rig: Any, changes: dict[str, Any], reason: str) -> None:
    answer = await post(rig, body(**changes))
    assert answer.status_code == 400
    assert reason in str(answer.json())
    assert (await get(rig)).json()["items"] == []


@pytest.mark.parametrize("query", [{"by": "colour"}, {"by": "tenant,tenant"}, {"since": "x"}, {"limit": "0"}])
async def test_a_wrong_question_is_refused(rig: Any, query: dict[str, str]) -> None:
    assert (await get(rig, **query)).status_code == 400


async def test_usage_of_one_tenant_key_and_model(rig: Any) -> None:
    await post(rig, body())
    for query in ({"tenant": "acme"}, {"key": "k1"}, {"model": "chat"}):
        found = (await get(rig, by="tenant", since="2000d", **query)).json()["items"]
        assert [row["tenant"] for row in found] == ["acme"], query
    assert (await get(rig, tenant="nobody", since="2000d")).json()["items"] == []
    assert (await get(rig, tenant="a\x00")).status_code == 400


async def test_no_cell_of_csv_is_a_formula(rig: Any) -> None:
    await post(rig, body(rows=[{**ROW, "tenant": '=HYPERLINK("http://x")'}, {**FREE, "tenant": "-1"}]))
    lines = (await get(rig, by="tenant", format="csv")).text.split("\r\n")
    assert lines[1].startswith('"\'=HYPERLINK(""http://x"")",2,1000000,')
    assert lines[2].startswith("'-1,1,10,")


async def test_each_key_has_its_last_use_and_what_it_used_of_the_day_and_month(rig: Any) -> None:
    rig.config, rig.clock.time = CONFIG, AT + 3600.0
    await post(rig, body())
    async with rig.client() as client:
        first, second = (await client.get("/cp/v1/usage/keys")).json()["items"]
        rig.clock.time += 86_400
        (tomorrow, _) = (await client.get("/cp/v1/usage/keys")).json()["items"]
    assert (first["key"], first["day_tokens"], first["month_requests"]) == ("k1", 1_100_000, 2)
    assert first["day_usd"] == first["month_usd"] == 2.7
    assert (second["key"], second["day_tokens"], second["month_usd"]) == ("k2", 10, None)
    assert (tomorrow["day_tokens"], tomorrow["day_usd"], tomorrow["month_tokens"]) == (0, 0.0, 1_100_000)


async def test_no_key_lacks_its_use_however_many_there_are(rig: Any) -> None:
    rig.config, rig.clock.time = CONFIG, AT + 3600.0
    for batch in range(11):
        rows = [{**ROW, "at": AT - 60 * batch, "key_id": f"k{batch:02}{n:03}", "requests": 1} for n in range(1000)]
        await post(rig, body(first=1 + 3 * batch, rows=rows))
    async with rig.client(Role.VIEWER) as client:
        items = (await client.get("/cp/v1/usage/keys")).json()["items"]
    assert len(items) == 11_000
    assert {(one["day_tokens"], one["month_requests"]) for one in items} == {(1_100_000, 1)}


async def test_fields_of_a_later_gateway_are_ignored(rig: Any) -> None:
    sent = body(rows=[{**ROW, "watts": 9.5}], region="eu")
    assert (await post(rig, sent)).json() == {"acknowledged": 3}
