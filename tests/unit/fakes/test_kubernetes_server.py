"""The test API server's faults, and the real Python client against it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from kubernetes import client

from tests.fakes.kubernetes import ApiServer, Rule

Json = dict[str, Any]

ROUTE: Json = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "chat"},
    "spec": {"rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": 100}]}]},
}
PATH = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
WEIGHT = "/spec/rules/0/backendRefs/0/weight"
MOVE = json.dumps([{"op": "replace", "path": WEIGHT, "value": 7}])
HANG_S = 30.0


class Caller:
    """A plain HTTP client of the server, as an admin."""

    def __init__(self, api: ApiServer, session: aiohttp.ClientSession) -> None:
        self.api, self.session = api, session

    async def ask(self, method: str, path: str, data: str | None = None, media: str = "") -> tuple[int, Any]:
        async with self.session.request(method, self.api.url + path, data=data, headers={"Content-Type": media}) as got:
            text = await got.text()
            return got.status, json.loads(text) if text.startswith("{") else text

    async def move(self) -> tuple[int, Any]:
        return await self.ask("PATCH", f"{PATH}/chat", MOVE, "application/json-patch+json")

    def weight(self) -> int:
        held = self.api.get(ROUTE["apiVersion"], "HTTPRoute", "chat")
        assert held is not None
        return int(held["spec"]["rules"][0]["backendRefs"][0]["weight"])


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with ApiServer() as api:
        api.put(ROUTE)
        headers = {"Authorization": f"Bearer {api.token()}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=HANG_S)) as session:
            yield Caller(api, session)


@pytest.mark.parametrize(("done", "weight"), [(True, 7), (False, 100)])
async def test_a_504_leaves_the_outcome_unknown(caller: Caller, done: bool, weight: int) -> None:
    caller.api.faults.hang("patch", "*/httproutes/chat", done=done)

    status, body = await caller.move()

    assert (status, body["reason"]) == (504, "Timeout")
    assert caller.weight() == weight
    assert (await caller.move())[0] == 200


async def test_reads_of_a_hung_storage_close_or_answer_a_bare_status(caller: Caller) -> None:
    caller.api.faults.hang("list", "*", times=4)  # aiohttp repeats a GET whose connection closed.

    status, body = await caller.ask("GET", PATH)
    assert (status, "kind" in body, body["reason"]) == (504, False, "Timeout")
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.ask("GET", "/api/v1/namespaces/default/services")


@pytest.mark.parametrize(("done", "weight"), [(True, 7), (False, 100)])
async def test_a_connection_closes_without_an_answer(caller: Caller, done: bool, weight: int) -> None:
    caller.api.faults.close("patch", "*/httproutes/chat", done=done)

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.move()

    assert caller.weight() == weight


async def test_a_throttled_request_gets_429_in_plain_text(caller: Caller) -> None:
    caller.api.faults.throttle("patch", "*")
    async with caller.session.patch(f"{caller.api.url}{PATH}/chat", data=MOVE,
                                    headers={"Content-Type": "application/json-patch+json"}) as got:  # fmt: skip
        assert (got.status, got.headers["Retry-After"], got.content_type) == (429, "1", "text/plain")
    assert caller.weight() == 100


async def test_another_writer_comes_between_a_get_and_a_put(caller: Caller) -> None:
    caller.api.between("get", "update", "*/httproutes/chat", lambda found: found["metadata"].update(labels={"a": "b"}))
    _, held = await caller.ask("GET", f"{PATH}/chat")

    status, body = await caller.ask("PUT", f"{PATH}/chat", json.dumps(held), "application/json")

    assert (status, body["reason"]) == (409, "Conflict")
    _, again = await caller.ask("GET", f"{PATH}/chat")
    assert (await caller.ask("PUT", f"{PATH}/chat", json.dumps(again), "application/json"))[0] == 200


async def test_an_open_watch_expires_and_old_versions_are_gone(caller: Caller) -> None:
    async with caller.session.get(f"{caller.api.url}{PATH}?watch=1&timeoutSeconds=20") as watch:
        first = json.loads(await watch.content.readline())
        caller.api.faults.expire_watches()
        line = json.loads(await watch.content.readline())
        assert await watch.content.readline() == b""

    assert first["type"] == "ADDED"
    assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")
    old = first["object"]["metadata"]["resourceVersion"]
    status, text = await caller.ask("GET", f"{PATH}?watch=1&timeoutSeconds=20&resourceVersion={old}")
    assert (status, text["type"], text["object"]["code"]) == (200, "ERROR", 410)


async def test_a_killed_server_cuts_its_watches_and_comes_back_on_its_port(caller: Caller) -> None:
    async with caller.session.get(f"{caller.api.url}{PATH}?watch=1&timeoutSeconds=20") as watch:
        await watch.content.readline()
        await caller.api.stop(kill=True)
        with pytest.raises(aiohttp.ClientPayloadError):
            await watch.content.readline()
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.move()

    await caller.api.start()

    assert (await caller.move())[0] == 200


async def test_a_stopped_server_refuses_calls_but_its_watches_live_on(caller: Caller) -> None:
    async with caller.session.get(f"{caller.api.url}{PATH}?watch=1&timeoutSeconds=20") as watch:
        await watch.content.readline()
        await caller.api.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await caller.move()
        caller.api.put(ROUTE | {"metadata": {"name": "other"}})
        line = json.loads(await watch.content.readline())

    assert line["object"]["metadata"]["name"] == "other"


async def test_too_large_a_body_is_413(caller: Caller) -> None:
    body = json.dumps({"metadata": {"name": "big"}, "data": {"text": "x" * 3_200_000}})

    path = f"{caller.api.url}/api/v1/namespaces/default/configmaps"
    async with caller.session.post(path, data=io.BytesIO(body.encode())) as got:
        status, found = got.status, await got.json()

    assert (status, found["message"]) == (413, "Request entity too large: limit is 3145728")


async def test_the_python_client_moves_a_weight_and_meets_its_rules() -> None:
    rules = [Rule(["get", "patch"], ["gateway.networking.k8s.io"], ["httproutes"], names=["chat"])]
    async with ApiServer() as api:
        api.put(ROUTE)
        configuration = client.Configuration(host=api.url)
        with client.ApiClient(configuration) as connection:
            connection.set_default_header("Authorization", f"Bearer {api.token(rules)}")
            routes = client.CustomObjectsApi(connection)
            where = ("gateway.networking.k8s.io", "v1", "default", "httproutes")
            moved: Any = await asyncio.to_thread(
                routes.patch_namespaced_custom_object,
                *where,
                "chat",
                json.loads(MOVE),
                _content_type="application/json-patch+json",
            )
            with pytest.raises(client.ApiException) as refused:
                await asyncio.to_thread(routes.list_namespaced_custom_object, *where)

    assert moved["metadata"]["generation"] == 2
    assert {entry["manager"] for entry in moved["metadata"]["managedFields"]} == {"OpenAPI-Generator", "test"}
    assert refused.value.status == 403


@pytest.mark.parametrize(("share", "code"), [("10", 422), (0.5, 422), (10, 201), (101, 201)])
async def test_a_canary_share_is_a_whole_number_without_bounds(caller: Caller, share: Any, code: int) -> None:
    body = {"metadata": {"name": "chat"}, "spec": {"predictor": {"canaryTrafficPercent": share}}}

    status, _ = await caller.ask(
        "POST",
        "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices",
        json.dumps(body),
        "application/json",
    )

    assert status == code
