"""The header fields that an engine and a client get, over raw sockets."""

from __future__ import annotations

import json

import pytest

from tests.fakes.engine import ANSWER, DONE, TOKEN, FakeEngine, stream, whole
from tests.fakes.gateway import CHAT, STREAM
from tests.fakes.raw_http import RawClient, post


async def test_what_the_engine_learns_of_a_request(engine: FakeEngine, client: RawClient) -> None:
    lines = (
        "Authorization: Bearer sk-client",
        "X-Api-Key: sk-client",
        "Api-Key: sk-client",
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Proxy-Authorization: Basic x",
        "X-Forwarded-For: 10.9.9.9",
        "Forwarded: for=10.9.9.9",
        "X-Real-IP: 10.9.9.9",
        "X-Request-ID: mine-1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "X-Custom: yes",
        "Accept-Encoding: gzip",
    )
    answer = await client.ask(post(CHAT, "/v1/chat/completions", *lines))
    assert answer.headers["x-request-id"] == "mine-1"
    assert engine.requests[0].headers == {
        "host": f"127.0.0.1:{engine.port}",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-custom": "yes",
        "accept-encoding": "identity",
        "x-request-id": "mine-1",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "content-length": str(len(json.dumps(CHAT))),
    }


async def test_what_the_client_learns_of_an_answer(engine: FakeEngine, client: RawClient) -> None:
    lines = (
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "X-Request-ID: theirs",
        "Server: uvicorn",
    )
    engine.script = [whole(200, ANSWER, *lines)]
    answer = await client.ask(post(CHAT))
    assert answer.headers.pop("x-request-id") != "theirs"
    assert {name for name, _ in answer.fields} == {
        "content-type", "content-length", "server", "x-request-id", "x-ratelimit-limit-requests", "x-model-version",
    }  # fmt: skip


@pytest.mark.parametrize("given", ["x" * 200, "ü", "a\tb"])
async def test_a_request_id_that_is_no_plain_word_is_replaced(
    engine: FakeEngine, client: RawClient, given: str
) -> None:
    answer = await client.ask(post(CHAT, "/v1/chat/completions", f"X-Request-ID: {given}"))
    assert answer.headers["x-request-id"] == engine.requests[0].headers["x-request-id"] != given


async def test_a_stream_is_marked_so_that_no_proxy_buffers_it(engine: FakeEngine, client: RawClient) -> None:
    engine.script = [stream(TOKEN, DONE)]
    answer = await client.ask(post(STREAM))
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == TOKEN + DONE
