"""What a request passes before a route sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from controlplane.api.bodies import MAX_BODY_BYTES
from controlplane.api.middleware import MAX_QUERY_BYTES, SECURITY_HEADERS


@pytest.mark.parametrize(
    "host",
    [
        "cp.example.org",
        "CP.example.org:9000",
        "cp.example.org.",
        "localhost:9000",
        "127.0.0.1",
        "10.1.2.3:80",
        "[::1]:80",
    ],
)
async def test_our_own_names_and_any_address_are_answered(viewer: httpx.AsyncClient, host: str) -> None:
    assert (await viewer.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example.com", "cp.example.org.evil.com", "", "127.0.0.1.nip.io", "2130706433", "["]
)
async def test_a_foreign_name_reaches_nothing(viewer: httpx.AsyncClient, host: str) -> None:
    answer = await viewer.get("/healthz", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:controlplane:problem:wrong-host"


async def test_a_body_of_two_lengths_is_refused_and_ends_its_connection(viewer: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"query=1"

    both = {"Content-Length": "7", "Transfer-Encoding": "chunked"}
    answer = await viewer.post("/api/v1/query", content=body(), headers=both)
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")
    assert "two lengths" in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/cp/v1/fleet", "/nothing"])
async def test_every_answer_carries_the_security_headers(viewer: httpx.AsyncClient, path: str) -> None:
    answer = await viewer.get(path)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


async def test_no_cross_origin_preflight_is_answered(viewer: httpx.AsyncClient) -> None:
    headers = {"Origin": "http://evil.example.com", "Access-Control-Request-Method": "POST"}
    answer = await viewer.options("/cp/v1/rollouts", headers=headers)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/cp/v1/fleet", "/api/v1/query?query=1", "/openapi.json"])
async def test_head_is_answered_where_get_is(viewer: httpx.AsyncClient, path: str) -> None:
    get, head = await viewer.get(path), await viewer.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # which counts the requests
        assert head.headers["content-length"] == get.headers["content-length"]


async def test_head_is_refused_as_get_is(viewer: httpx.AsyncClient) -> None:
    assert (await viewer.head("/cp/v1/models/nobody")).status_code == 404
    assert (await viewer.head("/cp/v1/tokens")).status_code == 403
    refused = await viewer.head("/cp/v1/rollouts/r1/abort")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_a_body_beyond_the_limit_is_refused_declared_or_streamed(operator: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 2**16 + 1):
            yield b" " * 2**16

    for body in (b" " * (MAX_BODY_BYTES + 1), chunks()):
        answer = await operator.post("/cp/v1/rollouts", content=body)
        assert answer.status_code == 413
        assert answer.json()["detail"] == "the body is larger than 1048576 bytes"


async def test_a_lying_content_length_is_refused(operator: httpx.AsyncClient) -> None:
    for length in ("-1", "1e3", "99999999999"):
        answer = await operator.post("/cp/v1/rollouts", content=b"", headers={"Content-Length": length})
        assert answer.status_code == 413


async def test_a_long_query_string_is_sent_to_post(viewer: httpx.AsyncClient) -> None:
    expr = "a" * (MAX_QUERY_BYTES + 1)
    refused = await viewer.get("/api/v1/query", params={"query": expr})
    assert refused.status_code == 414
    assert refused.json()["errorType"] == "bad_data"
    assert (await viewer.post("/api/v1/query", data={"query": expr})).status_code == 200


async def test_a_request_that_breaks_off_half_way_does_not_act(rig: Any) -> None:
    sent: list[Any] = []
    messages = iter(
        [
            {"type": "http.request", "body": b'{"model":"chat","version":"v2"}', "more_body": True},
            {"type": "http.disconnect"},
        ],
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in rig.headers("operator").items())]
    path = "/cp/v1/rollouts"
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "root_path": "",
    }
    await rig.app()(scope, receive, send)
    assert sent == []
    assert await rig.rollouts.list() == []


async def test_a_body_that_never_ends_is_given_up(operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr("controlplane.api.bodies.BODY_S", 0.01)
    answer = await operator.post("/cp/v1/rollouts", content=trickle())
    assert answer.status_code == 408
    assert answer.json()["detail"] == "the body was not complete within 0.01 s"
