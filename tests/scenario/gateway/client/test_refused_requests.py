"""Requests that are refused: two readings, sizes, numbers, strangers, over raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from controlplane.gateway.request import Outcome
from tests.fakes.engine import FakeEngine
from tests.fakes.gateway import CHAT, Gateway, backend, model
from tests.fakes.raw_http import RawClient, get, post
from tests.patience import HANG_S, until

TE = "Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
    "no Host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two Content-Types": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: a/c\r\n\r\n",
    "two Hosts": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "length and chunks": f"POST /x HTTP/1.1\r\nHost: a\r\n{TE}Content-Length: 5\r\n\r\n0\r\n\r\n".encode(),
    "chunks and length": f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{TE}\r\n0\r\n\r\n".encode(),
    "two lengths": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "two equal lengths": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a length of +5": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
    "a negative length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabcde",
    "a list of lengths": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nabcde",
    "two codings": f"POST /x HTTP/1.1\r\nHost: a\r\n{TE}{TE}\r\n0\r\n\r\n".encode(),
    "a coding under chunked": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is not chunked": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    "a coding with a tab": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked, identity\r\n\r\n",
    "chunks in HTTP/1.0": f"POST /x HTTP/1.0\r\nHost: a\r\n{TE}\r\n0\r\n\r\n".encode(),
    "a bare line feed": b"GET /v1/models HTTP/1.1\nHost: a\n\n",
    "a folded field": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "a space before the colon": b"GET /v1/models HTTP/1.1\r\nHost : a\r\n\r\n",
    "a NUL in a field": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "a carriage return in a field": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /v1/models HTTP/1.2\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /v1/models#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is no path": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n",
    "a target of another scheme": b"GET ftp://elsewhere/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "another protocol and chunks": (
        f"POST /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n{TE}\r\n".encode()
    ),
    "a chunk that is no number": f"POST /v2/models/chat/infer HTTP/1.1\r\nHost: a\r\n{TE}\r\nxyz\r\n".encode(),
    "a chunk that is too long": f"POST /v2/models/chat/infer HTTP/1.1\r\nHost: a\r\n{TE}\r\n3\r\nabcde\r\n".encode(),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_can_be_read_in_two_ways_is_refused(
    gateway: Gateway, engine: FakeEngine, client: RawClient, what: str
) -> None:
    answer = await client.ask(MALFORMED[what])
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert answer.json["error"]["message"]
    assert await client.ended() == b""
    assert engine.requests == []
    client.close()
    await until(lambda: gateway.server.connections == 0)


async def test_a_request_behind_a_refused_one_is_not_served(engine: FakeEngine, client: RawClient) -> None:
    await client.send(MALFORMED["two codings"] + post(CHAT))
    assert (await client.answer()).status == 400
    assert await client.ended() == b""
    assert engine.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5000,
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET /v1/models?" + b"x" * 5000,
        b"GET /v1/models?" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 200,
    ],
    ids=["a field", "a whole field", "a target", "a whole target", "fields", "endless fields"],
)
@pytest.mark.parametrize("slowly", [False, True])
async def test_a_head_over_the_limit_is_refused(gateway: Gateway, client: RawClient, head: bytes, slowly: bool) -> None:
    for at in range(0, len(head), 500) if slowly else ():
        client.writer.write(head[at : at + 500])
        await asyncio.sleep(0)
    if not slowly:
        await client.send(head)
    assert (await client.answer()).status == 431
    assert await client.ended() == b""


async def test_a_head_within_the_limit_may_have_a_body_over_it(engine: FakeEngine, client: RawClient) -> None:
    body = json.dumps({**CHAT, "text": "x" * 50_000}).encode()
    assert (await client.ask(post(body))).status == 200
    assert engine.requests[0].body == body


async def test_a_body_over_the_limit_is_refused_before_it_comes(gateway: Gateway, client: RawClient) -> None:
    answer = await client.ask(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await client.ended() == b""
    record = await gateway.record()
    assert (record.outcome, record.status, record.reason) == (Outcome.INVALID, 413, "too_large")


async def test_a_client_that_sends_a_body_over_the_limit_still_reads_the_refusal(client: RawClient) -> None:
    await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
    for _ in range(20):
        client.writer.write(b" " * 100_000)
    assert (await client.answer()).status == 413


async def test_a_chunked_body_over_the_limit_is_refused(gateway: Gateway, client: RawClient) -> None:
    await client.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{TE}\r\n".encode())
    for _ in range(3):
        client.writer.write(b"ea60\r\n" + b" " * 60_000 + b"\r\n")
    assert (await client.answer()).status == 413
    assert (await gateway.record()).outcome is Outcome.INVALID


async def test_bodies_of_all_requests_together_are_bounded(engine: FakeEngine) -> None:
    async with Gateway(model(backend(engine.url)), max_buffered_bytes=150_000) as gateway:
        async with await gateway.connect() as first, await gateway.connect() as second:
            await first.send(post(b" " * 100_000)[:-10])
            await until(lambda: gateway.server.buffered > 90_000)
            answer = await second.ask(post(b" " * 100_000))
            assert (answer.status, answer.headers["x-should-retry"]) == (429, "true")
            assert gateway.server.buffered < 150_000
            await first.send(b" " * 10)
            assert (await first.answer()).status == 400  # it is no JSON, and it was read whole
        await gateway.record(2)


async def test_a_refused_request_with_a_short_body_keeps_its_connection(client: RawClient) -> None:
    for _ in range(2):
        assert (await client.ask(post(CHAT, "/v1/nothing"))).status == 404
    assert (await client.ask(post(CHAT))).status == 200


async def test_a_stranger_does_not_learn_which_paths_there_are(gateway: Gateway, client: RawClient) -> None:
    for path in ("/v1/nothing", "/v1/chat/completions"):
        assert (await client.ask(post(CHAT, path, "Authorization: Bearer wrong"))).status == 401
    assert (await gateway.record(2)).outcome is Outcome.INVALID


async def test_a_refusal_by_a_limit_is_no_work_of_an_engine(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    gateway.limits.spent.add("chat")
    assert (await client.ask(post(CHAT))).status == 429
    record = await gateway.record()
    assert (record.outcome, record.reason, record.attempts) == (Outcome.REJECTED, "rate_limited", 0)
    assert engine.requests == []


async def test_connections_are_bounded(engine: FakeEngine) -> None:
    async with Gateway(model(backend(engine.url)), max_connections=2) as gateway:
        clients = [await gateway.connect() for _ in range(2)]
        assert (await clients[1].ask(get("/v1/models"))).status == 200
        third = await gateway.connect()
        assert (await third.answer()).status == 503
        assert await third.ended() == b""
        third.close()
        clients[0].close()
        await until(lambda: gateway.server.connections == 1)
        fourth = await gateway.connect()
        assert (await fourth.ask(get("/v1/models"))).status == 200
        clients[1].close()
        fourth.close()


async def test_a_burst_of_connections_waits_to_be_accepted(gateway: Gateway) -> None:
    burst = [socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_S) for _ in range(300)]
    assert gateway.server.connections == 0  # all were made while the loop did not run
    await until(lambda: gateway.server.connections == 300)
    for one in burst:
        one.close()
