"""Requests that are served, however they are written: the gateway's side of HTTP/1.1, over raw sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from controlplane.gateway.request import Outcome
from tests.fakes.engine import ANSWER, DONE, TOKEN, FakeEngine, stream, whole
from tests.fakes.gateway import CHAT, STREAM, Gateway
from tests.fakes.raw_http import RawClient, get, post


async def test_a_request_gets_the_engines_answer(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    answer = await client.ask(post(CHAT))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["content-length"] == str(len(ANSWER))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == "v1"
    assert answer.headers["x-ratelimit-limit-requests"] == "10"
    assert json.loads(engine.requests[0].body) == CHAT
    record = await gateway.record()
    assert (record.outcome, record.status, record.model, record.version) == (Outcome.OK, 200, "chat", "v1")
    assert (record.attempts, record.backend, record.tenant) == (1, engine.url, "anonymous")
    assert record.request_id == answer.headers["x-request-id"]


async def test_a_connection_serves_one_request_after_another(gateway: Gateway, client: RawClient) -> None:
    for _ in range(3):
        assert (await client.ask(post(CHAT))).status == 200
    assert gateway.server.connections == 1


async def test_a_head_may_come_byte_by_byte(client: RawClient) -> None:
    for byte in post(CHAT):
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200


async def test_a_chunked_body_reaches_the_engine_with_a_length(engine: FakeEngine, client: RawClient) -> None:
    head = b"POST /v2/models/chat/infer HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"3;name=value\r\nabc\r\n")
    assert (await client.ask(b"2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")).status == 200
    request = engine.requests[0]
    assert (request.body, request.headers["content-length"]) == (b"abcde", "5")
    assert "transfer-encoding" not in request.headers
    assert (await client.ask(post(CHAT))).status == 200  # the connection goes on behind the last chunk


async def test_a_body_of_tensors_is_sent_on_byte_for_byte(engine: FakeEngine, client: RawClient) -> None:
    body = b'{"inputs":[]}' + bytes(range(256)) * 300
    request = post(body, "/v2/models/chat/infer", "Inference-Header-Content-Length: 13", "Content-Encoding: gzip")
    assert (await client.ask(request)).status == 200
    assert engine.requests[0].body == body
    assert engine.requests[0].headers["inference-header-content-length"] == "13"
    assert engine.requests[0].headers["content-encoding"] == "gzip"


async def test_leave_to_send_the_body_is_given_at_once(engine: FakeEngine, client: RawClient) -> None:
    body = json.dumps(CHAT).encode()
    head, _, _ = post(body, "/v1/chat/completions", "Expect: 100-continue").partition(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    assert (await client.head()).status == 100
    assert engine.requests == []
    assert (await client.ask(body)).status == 200
    assert "expect" not in engine.requests[0].headers


async def test_no_leave_is_given_for_a_body_that_would_be_refused(client: RawClient) -> None:
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    answer = await client.ask(head)
    assert answer.status == 404
    assert answer.headers["connection"] == "close"
    assert await client.ended() == b""


async def test_a_target_for_a_proxy_is_read_as_its_path(engine: FakeEngine, client: RawClient) -> None:
    request = post(CHAT).replace(b"POST /v1", b"POST http://elsewhere:80/v1", 1)
    assert (await client.ask(request)).status == 200
    assert engine.requests[0].start == "POST /v1/chat/completions HTTP/1.1"
    assert engine.requests[0].headers["host"] == f"127.0.0.1:{engine.port}"


async def test_the_query_is_passed_on(engine: FakeEngine, client: RawClient) -> None:
    assert (await client.ask(post(CHAT, "/v1/chat/completions?api-version=2"))).status == 200
    assert engine.requests[0].start == "POST /v1/chat/completions?api-version=2 HTTP/1.1"


async def test_a_client_of_http_1_0_gets_a_length_and_the_end(gateway: Gateway, client: RawClient) -> None:
    answer = await client.ask(post(CHAT).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (answer.body, answer.headers["connection"]) == (ANSWER, "close")
    assert await client.ended() == b""


async def test_a_client_of_http_1_0_may_keep_its_connection(client: RawClient) -> None:
    request = post(CHAT, "/v1/chat/completions", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    for _ in range(2):
        assert (await client.ask(request)).headers["connection"] == "keep-alive"


async def test_a_stream_to_a_client_of_http_1_0_ends_with_its_connection(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [stream(TOKEN, DONE)]
    answer = await client.ask(post(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert answer.body == TOKEN + DONE
    assert "transfer-encoding" not in answer.headers
    assert (await gateway.record()).outcome is Outcome.OK


async def test_a_client_that_wants_to_close_is_told_so(client: RawClient) -> None:
    answer = await client.ask(post(CHAT, "/v1/chat/completions", "Connection: close"))
    assert (answer.body, answer.headers["connection"]) == (ANSWER, "close")
    assert await client.ended() == b""


async def test_head_gets_no_body(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    async def only_a_head(turn: Any) -> None:
        await turn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n")

    engine.script = [only_a_head, whole()]
    await client.send(get("/v2/models/chat/ready").replace(b"GET", b"HEAD"))
    answer = await client.answer(bodiless=True)
    assert (answer.status, answer.headers["content-length"]) == (200, "400")
    assert (await client.ask(post(CHAT))).body == ANSWER
    assert engine.connections == 2  # an answer without its body is not the end that a parser can see


async def test_a_list_of_models_needs_no_engine(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    answer = await client.ask(get("/v1/models"))
    assert answer.json == {"data": [{"id": "chat", "created": 1_700_000_000}]}
    assert (await client.ask(post(CHAT))).status == 200
    assert (await gateway.record()).operation == "chat"  # the list is no request to a model


async def test_an_offer_of_http_2_is_not_taken(engine: FakeEngine, client: RawClient) -> None:
    """Java's HttpClient offers it with every first request over plain HTTP."""
    lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    request = post(CHAT, "/v1/chat/completions", *lines)
    for start in (request, request[:-5]):
        await client.send(start)
        await asyncio.sleep(0)
        await client.send(request[len(start) :])
        assert (await client.answer()).status == 200
    assert (await client.ask(get("/v2/models/chat", *lines) + post(CHAT))).status == 200
    assert (await client.answer()).status == 200
    assert json.loads(engine.requests[1].body) == CHAT
    for name in ("connection", "upgrade", "http2-settings"):
        assert name not in engine.requests[0].headers
