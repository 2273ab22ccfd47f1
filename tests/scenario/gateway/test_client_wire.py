"""What a client may put on the wire, and what it gets: the gateway's side of HTTP/1.1, over raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Outcome
from controlplane.gateway.wire.client import MAX_PIPELINED, MAX_PIPELINED_BYTES
from tests.fakes.engine import ANSWER, DONE, TOKEN, FakeEngine, chunk, held, large, silent, stream, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import RawClient, get, post
from tests.patience import HANG_S, until

CHAT = {"model": "chat"}
STREAM = {"model": "chat", "stream": True}
SMALL: dict[str, Any] = {"max_head_bytes": 4096, "max_body_bytes": 100_000}


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    async with Gateway(model(backend(engine.url)), **SMALL) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with await gateway.connect() as client:
        yield client


# Requests that are served


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


# Requests before the answer to the last one


async def test_pipelined_requests_are_answered_in_order(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [whole(200, b'{"n":%d}' % n) for n in range(4)]
    await client.send(post(CHAT) + post(CHAT) + get("/v1/models") + post(CHAT)[:-5])
    assert [(await client.answer()).json for _ in range(3)][::2] == [
        {"n": 0},
        {"data": [{"id": "chat", "created": 1_700_000_000}]},
    ]
    await client.send(post(CHAT)[-5:])
    assert (await client.answer()).json == {"n": 2}
    await gateway.record(3)


async def test_a_pipelined_request_waits_for_the_answer_before_it(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    release = asyncio.Event()

    async def late(turn: Any) -> None:
        await release.wait()
        await whole(200, b'{"n":0}')(turn)

    engine.script = [late, whole(200, b'{"n":1}')]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    await client.send(post(CHAT))
    await gateway.settled()
    assert len(engine.requests) == 1
    release.set()
    assert [(await client.answer()).json["n"] for _ in range(2)] == [0, 1]


async def test_too_many_pipelined_requests_end_the_connection_after_those_that_wait(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [silent, whole()]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    await client.send(post(CHAT) * (MAX_PIPELINED + 5))
    await gateway.settled()
    gateway.clock.advance(301)  # the first one is given up
    answers = [(await client.answer()).status for _ in range(1 + MAX_PIPELINED)]
    assert answers == [504] + [200] * MAX_PIPELINED
    assert await client.ended() == b""


async def test_a_large_pipelined_body_is_not_kept(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    engine.script = [silent, whole()]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    await client.send(post(CHAT) + post(b" " * (MAX_PIPELINED_BYTES + 1)))
    await gateway.settled()
    gateway.clock.advance(301)
    assert [(await client.answer()).status for _ in range(2)] == [504, 200]
    assert await client.ended() == b""


async def test_large_pipelined_heads_are_not_kept(engine: FakeEngine) -> None:
    """Sixteen heads at the limit on each of some thousand connections would take gigabytes."""
    engine.script = [silent, whole()]
    request = post(CHAT, "/v1/chat/completions", f"x-padding: {'x' * 30_000}")
    async with Gateway(model(backend(engine.url))) as gateway, await gateway.connect() as client:
        await client.send(request)
        await until(lambda: engine.requests)
        await client.send(request * 3)
        await gateway.settled()
        gateway.clock.advance(301)
        assert [(await client.answer()).status for _ in range(3)] == [504, 200, 200]
        assert await client.ended() == b""


async def test_a_client_that_leaves_behind_pipelined_requests_is_noticed(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [silent]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    await client.send(post(CHAT) * 3)
    await gateway.settled()
    client.close()
    await until(lambda: engine.left == 1)
    assert (await gateway.record()).outcome is Outcome.ABORTED


# Requests that are refused

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


# Headers


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


# Clients that are slow, or leave


async def test_a_client_that_leaves_frees_its_engine_at_once(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    began = asyncio.Event()
    engine.script = [held(began, TOKEN, TOKEN)]
    await client.send(post(STREAM))
    await client.until(TOKEN)
    client.close()
    await until(lambda: engine.left == 1)
    record = await gateway.record()
    assert (record.outcome, record.status) == (Outcome.ABORTED, 200)
    assert record.completion_tokens is not None
    assert gateway.limits.reservations[0].ends == ["settled"]
    assert gateway.chooser.choices[0].released == [Outcome.ABORTED]


@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_a_client_that_leaves_before_the_answer_frees_its_engine(
    gateway: Gateway, engine: FakeEngine, client: RawClient, how: str
) -> None:
    engine.script = [silent]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    if how == "half":
        client.writer.write_eof()
    else:
        getattr(client, how)()
    await until(lambda: engine.left == 1)
    record = await gateway.record()
    assert (record.outcome, record.status, record.first_s) == (Outcome.ABORTED, 499, None)


async def test_a_client_that_leaves_the_queue_gives_its_place_up(gateway: Gateway, client: RawClient) -> None:
    gateway.chooser.queueing = True
    await client.send(post(CHAT))
    await until(lambda: gateway.chooser.queue)
    client.close()
    await until(lambda: gateway.chooser.queue[0].cancelled)
    assert (await gateway.record()).outcome is Outcome.ABORTED
    assert gateway.limits.reservations[0].ends == ["cancelled"]


async def test_a_grant_that_crosses_with_a_client_that_leaves_is_given_back(
    gateway: Gateway, client: RawClient
) -> None:
    gateway.chooser.queueing = True
    await client.send(post(CHAT))
    await until(lambda: gateway.chooser.queue)
    client.close()
    await gateway.record()
    choice = gateway.chooser.pick(gateway.desired.models[0], 0)
    assert not isinstance(choice, Refusal)
    gateway.chooser.queue[0].granted(choice)
    assert choice.released == [Outcome.ABORTED]


async def test_a_request_waits_in_the_queue_until_it_is_granted(gateway: Gateway, client: RawClient) -> None:
    gateway.chooser.queueing = True
    await client.send(post(CHAT))
    await until(lambda: gateway.chooser.queue)
    gateway.clock.advance(7)
    choice = gateway.chooser.pick(gateway.desired.models[0], 0)
    gateway.chooser.queue[0].granted(choice)
    assert (await client.answer()).status == 200
    assert (await gateway.record()).queue_s == pytest.approx(7, abs=0.3)


async def test_a_request_that_the_queue_gives_up_is_refused(gateway: Gateway, client: RawClient) -> None:
    gateway.chooser.queueing = True
    await client.send(post(CHAT))
    await until(lambda: gateway.chooser.queue)
    gateway.chooser.queue[0].granted(Refusal(RefusalKind.OVERLOADED, "the queue is full"))
    assert (await client.answer()).status == 429
    assert (await gateway.record()).outcome is Outcome.REJECTED


@pytest.mark.parametrize("begun", [b"", b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: 1\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(gateway: Gateway, begun: bytes) -> None:
    async with await gateway.connect() as client:
        await client.send(begun)
        await until(lambda: gateway.server.connections == 1)
        await gateway.settled()
        gateway.clock.advance(10)
        if begun:
            assert (await client.answer()).status == 408
        assert await client.ended() == b""


async def test_a_head_that_comes_one_byte_at_a_time_ends_the_connection(gateway: Gateway, client: RawClient) -> None:
    assert (await client.ask(get("/v1/models"))).status == 200
    for byte in b"GET /v1/":
        await client.send(bytes([byte]))
        await gateway.settled()
        gateway.clock.advance(1)
    gateway.clock.advance(2)
    assert (await client.answer()).status == 408


async def test_a_body_that_pauses_ends_the_connection(gateway: Gateway, client: RawClient) -> None:
    for _ in range(3):  # slow is allowed
        await client.send(post(b" " * 1000)[:-990] if _ == 0 else b" " * 10)
        await gateway.settled()
        gateway.clock.advance(20)
    gateway.clock.advance(15)
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    record = await gateway.record()
    assert (record.outcome, record.reason) == (Outcome.INVALID, "too_slow")


async def test_a_resting_connection_ends_after_a_while(gateway: Gateway, client: RawClient) -> None:
    assert (await client.ask(get("/v1/models"))).status == 200
    gateway.clock.advance(70)
    assert (await client.ask(get("/v1/models"))).status == 200
    gateway.clock.advance(70)
    assert gateway.server.connections == 1
    gateway.clock.advance(10)
    assert await client.ended() == b""


async def test_a_client_that_does_not_read_costs_little_memory(gateway: Gateway, engine: FakeEngine) -> None:
    size = 2**30
    engine.script = [large(size)]
    client = await gateway.connect(limit=2**16)
    await client.send(get("/v2/models/chat/infer"))
    await client.head()
    (connection,) = gateway.server.clients
    await until(lambda: connection.paused)
    await asyncio.sleep(0.2)  # nothing more may come: what is buffered does not grow
    assert connection.transport.get_write_buffer_size() < 600_000
    received = 0
    while received < size // 16:  # it reads on, and so does the gateway
        received += len(await asyncio.wait_for(client.reader.read(2**20), HANG_S))
        assert connection.transport.get_write_buffer_size() < 600_000
    client.abort()
    await until(lambda: engine.left == 1)
    assert (await gateway.record()).outcome is Outcome.ABORTED


async def test_a_client_that_never_reads_again_is_given_up(gateway: Gateway, engine: FakeEngine) -> None:
    engine.script = [large(2**30)]
    client = await gateway.connect(limit=2**16)
    await client.send(get("/v2/models/chat/infer"))
    await client.head()
    (connection,) = gateway.server.clients
    await until(lambda: connection.paused)
    await gateway.settled()
    unsent = -1
    while unsent != (unsent := connection.transport.get_write_buffer_size()):  # noqa: ASYNC110 - the kernel's buffers
        await asyncio.sleep(0.05)
    gateway.clock.advance(31)
    await until(lambda: gateway.server.connections == 0)
    assert (await gateway.record()).outcome is Outcome.ABORTED
    client.abort()


# The gateway's own faults


@pytest.mark.parametrize("method", ["recognise", "read", "outgoing", "reader", "refuse"])
async def test_a_fault_of_a_stage_is_a_500_and_a_line_in_the_log(
    gateway: Gateway, client: RawClient, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    gateway.dialects.fail_at = method
    answer = await client.ask(post(CHAT, "/v1/nothing" if method == "refuse" else "/v1/chat/completions"))
    assert answer.status == 500
    assert (await gateway.record()).outcome is Outcome.ERROR
    assert any("RuntimeError" in line and "gateway_stages.py" in line for line in caplog.messages)
    assert "secret prompt" not in caplog.text
    gateway.dialects.fail_at = ""
    async with await gateway.connect() as another:
        assert (await another.ask(post(CHAT))).status == 200


async def test_a_fault_in_the_middle_of_a_stream_breaks_it_off(
    gateway: Gateway, engine: FakeEngine, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def two_pieces(turn: Any) -> None:
        await stream(TOKEN, end=False)(turn)
        await go_on.wait()
        await turn.send(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    engine.script = [two_pieces]
    await client.send(post(STREAM))
    await client.until(TOKEN)

    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(gateway.recorder, "gap", fails)
    go_on.set()
    rest = await client.ended()
    assert b'"error"' in rest
    assert DONE not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert (await gateway.record()).outcome is Outcome.ERROR
