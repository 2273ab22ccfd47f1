"""What engines put on the wire, and what becomes of it: retries, breaks, and the end of streams, over raw sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.gateway.desired.document import (
    CredentialsSpec,
    HedgeSpec,
    MirrorSpec,
    ModelSpec,
    TimeoutSpec,
    VersionSpec,
)
from controlplane.gateway.exchange import server
from controlplane.gateway.request import Caller, Content, Outcome, TokenCounts
from controlplane.gateway.wire.pool import MAX_IDLE_S
from tests.fakes.engine import (
    ANSWER,
    DONE,
    SSE_HEAD,
    TOKEN,
    FakeEngine,
    Turn,
    chunk,
    closes_unanswered,
    dies_after,
    dies_at_once,
    error_then_done,
    held,
    large,
    queue_full,
    raw,
    silent,
    stream,
    trickle,
    whole,
)
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.gateway_stages import Answers
from tests.fakes.raw_http import Broken, RawClient, get, post
from tests.patience import HANG_S, until

CHAT = {"model": "chat"}
STREAM = {"model": "chat", "stream": True}
BUSY = b'{"error":{"message":"busy"}}'
ENDLESS = TimeoutSpec(first_event_s=100_000.0)


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def second() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    """A gateway with one engine."""
    async with Gateway(model(backend(engine.url))) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with await gateway.connect() as client:
        yield client


@pytest.fixture
async def pair(engine: FakeEngine, second: FakeEngine) -> AsyncIterator[Gateway]:
    """A gateway with two engines."""
    async with Gateway(model(backend(engine.url), backend(second.url))) as gateway:
        yield gateway


@pytest.fixture
async def pair_client(pair: Gateway) -> AsyncIterator[RawClient]:
    async with await pair.connect() as client:
        yield client


def closed_port() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


async def broken_stream(client: RawClient, request: bytes = post(STREAM)) -> bytes:
    """Ask for a stream that must break off; return what came of it."""
    await client.send(request)
    with pytest.raises(Broken) as broken:
        await client.answer()
    assert DONE not in broken.value.body
    return broken.value.body


# Bodies


async def test_pieces_pass_however_the_engine_cuts_them(engine: FakeEngine, client: RawClient) -> None:
    engine.script = [trickle(SSE_HEAD + chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")]
    assert (await client.ask(post(STREAM))).body == TOKEN + TOKEN + DONE


async def test_many_events_in_one_chunk_pass(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    engine.script = [stream(TOKEN * 1000 + DONE)]
    assert (await client.ask(post(STREAM))).body == TOKEN * 1000 + DONE
    record = await gateway.record()
    assert record.completion_tokens == 1000
    assert gateway.chooser.choices[0].tokens == 1000


async def test_trailers_and_extensions_of_chunks_are_dropped(engine: FakeEngine, client: RawClient) -> None:
    body = b"%x;a=b\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(TOKEN + DONE), TOKEN + DONE)
    engine.script = [raw(SSE_HEAD + body)]
    assert (await client.ask(post(STREAM))).body == TOKEN + DONE


async def test_an_answer_that_ends_with_its_connection_passes(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [raw(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + ANSWER, close=True), whole()]
    answer = await client.ask(post(CHAT))
    assert (answer.body, answer.headers["transfer-encoding"]) == (ANSWER, "chunked")
    assert (await client.ask(post(CHAT))).body == ANSWER
    assert engine.connections == 2


async def test_interim_answers_are_dropped(engine: FakeEngine, client: RawClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    engine.script = [raw(interim + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), whole()]
    answer = await client.ask(post(CHAT))
    assert (answer.status, answer.body) == (200, b"{}")
    assert "link" not in answer.headers
    assert (await client.ask(post(CHAT))).status == 200
    assert engine.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body(engine: FakeEngine, client: RawClient, status: int) -> None:
    engine.script = [raw(b"HTTP/1.1 %d X\r\netag: x\r\n\r\n" % status), whole()]
    await client.send(get("/v2/models/chat"))
    answer = await client.answer(bodiless=True)
    assert answer.status == status
    assert "transfer-encoding" not in answer.headers
    assert (await client.ask(post(CHAT))).status == 200


async def test_a_gigabyte_passes_in_bounded_memory(gateway: Gateway, engine: FakeEngine) -> None:
    size = 2**30
    engine.script = [large(size)]
    async with await gateway.connect(limit=2**20) as client:
        await client.send(get("/v2/models/chat/infer"))
        assert (await client.head()).headers["content-length"] == str(size)
        (connection,) = gateway.server.clients
        received = most = 0
        while received < size:
            received += len(await asyncio.wait_for(client.reader.read(2**20), HANG_S))
            most = max(most, connection.transport.get_write_buffer_size())
        assert received == size
        assert most < 600_000
        assert (await gateway.record()).outcome is Outcome.OK


async def test_errors_of_the_engine_pass_with_their_status(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    cases = {400: Outcome.INVALID, 404: Outcome.INVALID, 422: Outcome.INVALID, 500: Outcome.ERROR, 501: Outcome.ERROR}
    engine.script = [whole(status, BUSY) for status in cases]
    for number, (status, outcome) in enumerate(cases.items(), 1):
        answer = await client.ask(post(STREAM))
        assert (answer.status, answer.body) == (status, BUSY)
        record = await gateway.record(number)
        assert (record.outcome, record.status, record.reason) == (outcome, status, f"http_{status}")
        assert gateway.chooser.choices[-1].released == [outcome]
    assert gateway.limits.reservations[0].ends == ["cancelled"]  # no engine worked on a wrong request
    assert gateway.limits.reservations[-1].ends == ["settled"]


@pytest.mark.parametrize("status", [401, 407])
async def test_an_engine_that_refuses_the_gateways_credentials_is_no_fault_of_the_client(
    gateway: Gateway, engine: FakeEngine, client: RawClient, status: int
) -> None:
    engine.script = [whole(status, b'{"error":"Unauthorized"}')]
    answer = await client.ask(post(CHAT))
    assert answer.status == 502
    assert "credentials" in answer.json["error"]["message"]
    assert (await gateway.record()).outcome is Outcome.ERROR


async def test_an_early_answer_ends_the_upload(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    """The engine refuses a large body by its head. What it has not read must not be taken for the next request."""
    left = asyncio.Event()

    async def early(turn: Turn) -> None:
        await whole(413, BUSY)(turn)
        await turn.left()
        left.set()
        turn.keep = False

    engine.reads_bodies = False
    engine.script = [early, whole()]
    answer = await client.ask(post(b"x" * 40_000_000, "/v2/models/chat/infer"))
    assert (answer.status, answer.body) == (413, BUSY)
    await asyncio.wait_for(left.wait(), HANG_S)
    engine.reads_bodies = True
    assert (await client.ask(post(CHAT))).status == 200
    assert engine.connections == 2


async def test_bytes_behind_an_interim_answer_are_no_part_of_the_real_one(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    """The client would take the bytes that are too many for the begin of its next answer."""
    early = b"HTTP/1.1 199 Early\r\ncontent-length: 5\r\n\r\nhello"
    engine.script = [raw(early + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), whole()]
    assert (await client.ask(post(CHAT))).status == 502
    assert (await client.ask(post(CHAT))).body == ANSWER
    assert gateway.recorder.records[0].outcome is Outcome.ERROR


async def test_a_204_has_no_length(engine: FakeEngine, client: RawClient) -> None:
    engine.script = [raw(b"HTTP/1.1 204 X\r\ncontent-length: 5\r\n\r\n"), whole()]
    await client.send(get("/v2/models/chat"))
    assert "content-length" not in (await client.answer(bodiless=True)).headers
    assert (await client.ask(post(CHAT))).status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_does_not_lead_round_the_gateway(
    gateway: Gateway, engine: FakeEngine, client: RawClient, status: int
) -> None:
    engine.script = [whole(status, b"{}", f"location: {engine.url}/v1")]
    answer = await client.ask(post(CHAT))
    assert answer.status == 502 and "location" not in answer.headers and str(engine.port) not in answer.body.decode()
    record = await gateway.record()
    assert (record.outcome, record.reason) == (Outcome.ERROR, f"http_{status}")


async def test_no_engine_speaks_for_the_gateway(engine: FakeEngine, client: RawClient) -> None:
    claims = ("x-request-id", "x-model-version", "x-cache", "x-degraded-from", "x-fallback-from")
    limits = ("x-ratelimit-limit-requests", "x-ratelimit-reset-tokens")
    engine.script = [whole(200, ANSWER, *(f"{name}: false" for name in (*claims, *limits)))]
    assert "false" not in (await client.ask(post(CHAT))).headers.values()


# Connections to engines


async def test_a_connection_is_used_again(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    for _ in range(3):
        assert (await client.ask(post(CHAT))).status == 200
        gateway.clock.advance(MAX_IDLE_S - 1)
    assert engine.connections == 1


async def test_a_connection_that_rested_too_long_is_not_used(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    assert (await client.ask(post(CHAT))).status == 200
    gateway.clock.skip(MAX_IDLE_S)
    assert (await client.ask(post(CHAT))).status == 200
    assert engine.connections == 2


async def test_resting_connections_are_closed(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    assert (await client.ask(post(CHAT))).status == 200
    assert len(engine.open) == 1
    gateway.clock.advance(MAX_IDLE_S + 2)
    await until(lambda: not engine.open)


async def test_the_close_of_an_idle_connection_loses_no_request(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    """uvicorn closes after 5 s of rest, and the request may be on its way already."""
    engine.script = [whole(), closes_unanswered, whole()]
    assert (await client.ask(post(CHAT))).status == 200
    assert (await client.ask(post(CHAT))).status == 200
    assert (len(engine.requests), engine.connections) == (3, 2)
    record = await gateway.record(2)
    assert (record.outcome, record.attempts) == (Outcome.OK, 1)
    assert gateway.chooser.choices[-1].released == [Outcome.OK]


async def test_a_request_on_a_new_connection_is_not_sent_twice(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    """The engine may have begun to generate."""
    engine.script = [closes_unanswered, whole()]
    answer = await client.ask(post(CHAT))
    assert answer.status == 502
    assert len(engine.requests) == 1
    record = await gateway.record()
    assert (record.outcome, record.reason) == (Outcome.ERROR, "lost")
    assert gateway.limits.reservations[0].ends == ["settled"]


async def test_a_request_whose_answer_began_is_not_sent_twice(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [whole(), raw(b"HTTP/1.1 200 OK\r\ncontent-le", close=True), whole()]
    assert (await client.ask(post(CHAT))).status == 200
    assert (await client.ask(post(CHAT))).status == 502
    assert len(engine.requests) == 2


async def test_bytes_behind_an_answer_are_not_the_next_answer(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    engine.script = [raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + forged), whole()]
    assert (await client.ask(post(CHAT))).body == b"{}"
    assert (await client.ask(post(CHAT))).body == ANSWER
    assert engine.connections == 2


async def test_bytes_that_nobody_asked_for_end_a_resting_connection(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    assert (await client.ask(post(CHAT))).status == 200
    (writer,) = engine.open
    writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    await until(lambda: not engine.open)
    assert (await client.ask(post(CHAT))).body == ANSWER


async def test_an_engine_that_wants_to_close_is_not_asked_again_on_that_connection(
    engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [whole(200, ANSWER, "connection: close")]
    for _ in range(2):
        answer = await client.ask(post(CHAT))
        assert answer.body == ANSWER
        assert "connection" not in answer.headers  # the client's connection is another one
    assert engine.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
    ids=["no HTTP", "length and chunks", "two lengths", "another protocol", "many fields", "a large head"],
)
async def test_an_answer_that_is_no_proper_http_is_a_502(
    gateway: Gateway, engine: FakeEngine, client: RawClient, answer: bytes
) -> None:
    engine.script = [raw(answer), whole()]
    assert (await client.ask(post(CHAT))).status == 502
    assert (await gateway.record()).outcome is Outcome.ERROR
    assert (await client.ask(post(CHAT))).status == 200


async def test_credentials_are_the_gateways_and_read_again_when_they_change(engine: FakeEngine, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("first\n")
    spec = backend(engine.url, credentials=CredentialsSpec(file=str(secret)))
    async with Gateway(model(spec)) as gateway, await gateway.connect() as client:
        request = post(CHAT, "/v1/chat/completions", "Authorization: Bearer sk-client")
        await client.ask(request)
        secret.write_text("second")
        await client.ask(request)
        gateway.clock.advance(5)
        await client.ask(request)
        secret.unlink()
        gateway.clock.advance(5)
        await client.ask(request)
    given = [request.headers["authorization"] for request in engine.requests]
    assert given == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]


async def test_a_request_is_not_sent_without_its_credentials(engine: FakeEngine, tmp_path: Path) -> None:
    spec = backend(engine.url, credentials=CredentialsSpec(file=str(tmp_path / "none")))
    async with Gateway(model(spec)) as gateway, await gateway.connect() as client:
        answer = await client.ask(post(CHAT))
        assert answer.status == 502
        assert "credentials" in answer.json["error"]["message"]
        record = await gateway.record()
        assert (record.outcome, record.reason) == (Outcome.ERROR, "credentials")
    assert engine.requests == []


async def test_a_backend_may_have_a_path_before_the_apis(engine: FakeEngine) -> None:
    async with Gateway(model(backend(engine.url + "/engines/one/"))) as gateway, await gateway.connect() as client:
        assert (await client.ask(post(CHAT))).status == 200
    assert engine.requests[0].start == "POST /engines/one/v1/chat/completions HTTP/1.1"


# What is tried again


async def test_an_engine_that_cannot_be_reached_is_followed_by_another(second: FakeEngine) -> None:
    async with (
        Gateway(model(backend(closed_port()), backend(second.url))) as gateway,
        await gateway.connect() as client,
    ):
        assert (await client.ask(post(CHAT))).status == 200
        record = await gateway.record()
        assert (record.outcome, record.attempts, record.backend) == (Outcome.OK, 2, second.url)
        assert gateway.recorder.retries == ["connect"]
        assert [choice.released for choice in gateway.chooser.choices] == [[Outcome.ERROR], [Outcome.OK]]
        assert [choice.connected for choice in gateway.chooser.choices] == [False, True]


async def test_without_another_engine_the_request_is_refused(gateway: Gateway) -> None:
    async with Gateway(model(backend(closed_port()))) as gateway, await gateway.connect() as client:
        answer = await client.ask(post(CHAT))
        assert (answer.status, answer.headers["x-should-retry"]) == (502, "true")
        assert "127.0.0.1" not in answer.json["error"]["message"]  # a client need not know where engines are
        record = await gateway.record()
        assert (record.outcome, record.reason, record.attempts) == (Outcome.ERROR, "connect", 1)
        assert gateway.limits.reservations[0].ends == ["cancelled"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_engine_is_followed_by_another(
    pair: Gateway, engine: FakeEngine, pair_client: RawClient, status: int
) -> None:
    engine.script = [whole(status, BUSY)]
    answer = await pair_client.ask(post(CHAT))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert pair.recorder.retries == [f"http_{status}"]
    assert pair.chooser.choices[0].released == [Outcome.REJECTED]
    assert (await pair.record()).attempts == 2
    assert len(engine.open) == 1  # its connection was not half read, so it rests


async def test_the_last_busy_engines_own_answer_reaches_the_client(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    engine.script = [whole(503, b"first")]
    second.script = [whole(429, BUSY, "retry-after: 7")]
    answer = await pair_client.ask(post(CHAT))
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (429, BUSY, "7")
    record = await pair.record()
    assert (record.outcome, record.status, record.attempts) == (Outcome.REJECTED, 429, 2)
    assert pair.limits.reservations[0].ends == ["cancelled"]


async def test_a_full_queue_that_looks_like_an_answer_is_followed_by_another(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    engine.script = [queue_full()]
    second.script = [stream(TOKEN, DONE)]
    answer = await pair_client.ask(post(STREAM))
    assert (answer.status, answer.body) == (200, TOKEN + DONE)
    assert pair.recorder.retries == ["stream_error"]


async def test_a_full_queue_that_looks_like_an_answer_gets_its_real_status(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [queue_full()]
    answer = await client.ask(post(STREAM))
    assert (answer.status, answer.headers["x-should-retry"]) == (503, "true")
    assert (await gateway.record()).outcome is Outcome.REJECTED


async def test_a_first_event_of_another_error_is_not_tried_again(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    engine.script = [error_then_done(before=0)]
    assert (await pair_client.ask(post(STREAM))).status == 502
    assert second.requests == []
    assert (await pair.record()).outcome is Outcome.ERROR


async def test_retries_are_bounded(engine: FakeEngine) -> None:
    engine.script = [whole(503, BUSY)]
    backends = [backend(engine.url) for _ in range(5)]
    async with Gateway(model(*backends, retries=2)) as gateway, await gateway.connect() as client:
        gateway.chooser.again = lambda ask, failed, now: gateway.chooser.pick(failed.model, 0)  # type: ignore[method-assign]
        assert (await client.ask(post(CHAT))).status == 503
        assert (await gateway.record()).attempts == 3


@pytest.mark.parametrize("death", [dies_at_once, closes_unanswered])
async def test_an_engine_that_dies_before_its_answer_is_not_followed_by_another(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient, death: Any
) -> None:
    engine.script = [death]
    assert (await pair_client.ask(post(CHAT))).status == 502
    assert second.requests == []


async def test_a_fallback_answers_when_no_backend_can(second: FakeEngine) -> None:
    large_model = model(backend(closed_port()), fallbacks=("gone", "small"))
    small = model(backend(second.url), name="small")
    async with Gateway(large_model, small) as gateway, await gateway.connect() as client:
        answer = await client.ask(post(CHAT))
        assert (answer.status, answer.headers["x-fallback-from"]) == (200, "chat")
        record = await gateway.record()
        assert (record.model, record.degraded_from, record.attempts) == ("small", "chat", 2)
        assert [reservation.ends for reservation in gateway.limits.reservations] == [["cancelled"], ["settled"]]


async def test_a_fallback_answers_when_there_is_no_backend(second: FakeEngine) -> None:
    models = model(fallbacks=("small",)), model(backend(second.url), name="small")
    async with Gateway(*models) as gateway, await gateway.connect() as client:
        assert (await client.ask(post(CHAT))).headers["x-fallback-from"] == "chat"


async def test_a_fallback_that_the_caller_may_not_ask_does_not_answer(second: FakeEngine) -> None:
    models = model(fallbacks=("small",)), model(backend(second.url), name="small")
    async with Gateway(*models) as gateway, await gateway.connect() as client:
        gateway.limits.caller = Caller("id", "tenant", models=frozenset({"chat"}))
        assert (await client.ask(post(CHAT))).status == 503
        gateway.limits.caller = Caller("id", "tenant", models=frozenset({"chat", "small"}))
        assert (await client.ask(post(CHAT))).status == 200


async def test_a_fallback_over_its_own_limit_does_not_answer(second: FakeEngine) -> None:
    models = model(fallbacks=("small",)), model(backend(second.url), name="small")
    async with Gateway(*models) as gateway, await gateway.connect() as client:
        gateway.limits.spent.add("small")
        assert (await client.ask(post(CHAT))).status == 503
        await gateway.record()


async def test_a_large_body_is_tried_again_whole(second: FakeEngine) -> None:
    body = {**CHAT, "text": "x" * 2_000_000}
    async with (
        Gateway(model(backend(closed_port()), backend(second.url))) as gateway,
        await gateway.connect() as client,
    ):
        assert (await client.ask(post(body))).status == 200
        await gateway.record()
    assert len(second.requests[0].body) > 2_000_000


# Streams that break off


async def test_the_death_of_an_engine_never_looks_like_an_end(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [dies_after(TOKEN, TOKEN)]
    body = await broken_stream(client)
    assert body.startswith(TOKEN + TOKEN)
    assert b'"error"' in body.removeprefix(TOKEN + TOKEN)
    record = await gateway.record()
    assert (record.outcome, record.reason, record.status, record.completion_tokens) == (Outcome.CUT, "cut", 200, 2)
    assert gateway.chooser.choices[0].released == [Outcome.CUT]
    assert gateway.limits.reservations[0].ends == ["settled"]


async def test_a_stream_without_its_last_event_did_not_end(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    """An SDK takes a clean end without `[DONE]` for a whole answer."""
    engine.script = [stream(TOKEN, TOKEN)]
    assert b'"error"' in await broken_stream(client)
    assert (await gateway.record()).outcome is Outcome.CUT


async def test_done_behind_an_error_is_not_passed_on(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    engine.script = [error_then_done(before=2)]
    body = await broken_stream(client)
    assert body.count(b'"error"') == 1
    record = await gateway.record()
    assert (record.outcome, record.reason) == (Outcome.ERROR, "stream_error")


async def test_a_bad_chunk_breaks_the_stream_off_behind_what_was_good(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [raw(SSE_HEAD + chunk(TOKEN) + b"zz\r\n")]
    assert (await broken_stream(client)).startswith(TOKEN)
    assert (await gateway.record()).outcome is Outcome.CUT


async def test_an_endless_trailer_breaks_the_stream_off(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    async def endless(turn: Turn) -> None:
        await turn.send(SSE_HEAD + chunk(TOKEN) + b"0\r\nX: ")
        while True:
            await turn.send(b"y" * 1000)
            await asyncio.sleep(0)

    engine.script = [endless]
    assert (await broken_stream(client)).startswith(TOKEN)
    assert (await gateway.record()).outcome is Outcome.CUT


async def test_a_body_that_is_cut_short_is_cut_short(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    engine.script = [raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", close=True)]
    await client.send(post(CHAT))
    with pytest.raises(Broken):
        await client.answer()
    assert (await gateway.record()).outcome is Outcome.CUT


async def test_a_broken_stream_to_http_1_0_is_reset(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    """Its end is the end of the connection, so a plain end would look like a whole answer."""
    began = asyncio.Event()
    engine.script = [held(began, TOKEN)]
    await client.send(post(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await client.until(TOKEN)
    (writer,) = engine.open
    writer.transport.abort()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), HANG_S)


async def test_a_stream_without_an_event_is_a_502(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    engine.script = [stream()]
    assert (await client.ask(post(STREAM))).status == 502
    assert (await gateway.record()).reason == "empty"


# Deadlines


async def test_an_engine_that_never_answers_is_given_up(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [silent]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    gateway.clock.advance(299)
    assert gateway.recorder.records == []
    gateway.clock.advance(2)
    answer = await client.answer()
    assert (answer.status, answer.headers["x-should-retry"]) == (504, "false")
    await until(lambda: engine.left == 1)
    record = await gateway.record()
    assert (record.outcome, record.reason) == (Outcome.TIMEOUT, "timeout")


async def test_a_stream_that_pauses_too_long_breaks_off(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    began = asyncio.Event()
    engine.script = [held(began, TOKEN)]
    await client.send(post(STREAM))
    await client.until(TOKEN)
    gateway.clock.advance(119)
    assert gateway.recorder.records == []
    gateway.clock.advance(2)
    rest = await client.ended()
    assert b'"error"' in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert (await gateway.record()).outcome is Outcome.TIMEOUT
    await until(lambda: engine.left == 1)


async def test_an_answer_may_have_a_limit_as_a_whole(engine: FakeEngine) -> None:
    go_on = asyncio.Queue[None]()

    async def slowly(turn: Turn) -> None:
        await stream(TOKEN, end=False)(turn)
        while True:
            await go_on.get()
            await turn.send(chunk(TOKEN))

    engine.script = [slowly]
    spec = model(backend(engine.url), timeouts=TimeoutSpec(total_s=60.0))
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        await client.send(post(STREAM))
        await client.until(TOKEN)
        for _ in range(2):
            gateway.clock.advance(25)
            go_on.put_nowait(None)
            await client.until(TOKEN)
        gateway.clock.advance(15)
        assert b"60 seconds" in await client.ended()
        assert (await gateway.record()).outcome is Outcome.TIMEOUT


async def test_a_stream_that_waits_for_its_first_event_shows_that_it_lives(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await turn.send(SSE_HEAD)
        await release.wait()
        await turn.send(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    engine.script = [late]
    await client.send(post(STREAM))
    await until(lambda: engine.requests)
    await gateway.settled()
    for _ in range(2):
        gateway.clock.advance(15)
        await client.until(b": waiting for the first token\n\n")
    release.set()
    rest = await client.until(b"0\r\n\r\n")
    assert TOKEN in rest
    assert (await gateway.record()).outcome is Outcome.OK


async def test_a_busy_engine_behind_a_sign_of_life_is_still_followed_by_another(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await whole(503, BUSY)(turn)

    engine.script = [late]
    second.script = [stream(TOKEN, DONE)]
    await pair_client.send(post(STREAM))
    await until(lambda: engine.requests)
    pair.clock.advance(15)
    head = await pair_client.head()
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    release.set()
    assert TOKEN in await pair_client.until(b"0\r\n\r\n")
    assert (await pair.record()).attempts == 2


async def test_an_error_behind_a_sign_of_life_breaks_the_stream_off(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await whole(500, BUSY)(turn)

    engine.script = [late]
    await client.send(post(STREAM))
    await until(lambda: engine.requests)
    gateway.clock.advance(15)
    await client.head()
    release.set()
    rest = await client.ended()
    assert b'"error"' in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert (await gateway.record()).outcome is Outcome.ERROR


async def test_no_sign_of_life_is_put_into_an_answer_that_is_no_stream(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await whole()(turn)

    engine.script = [late]
    await client.send(post(CHAT))
    await until(lambda: engine.requests)
    gateway.clock.advance(200)
    release.set()
    assert (await client.answer()).body == ANSWER


async def test_a_connection_that_is_not_made_in_time_is_given_up(second: FakeEngine) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        fill = [socket.socket() for _ in range(8)]  # the queue of a server that accepts nothing is full
        for one in fill:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        spec = model(backend(f"http://127.0.0.1:{port}"), backend(second.url))
        async with Gateway(spec) as gateway, await gateway.connect() as client:
            await client.send(post(CHAT))
            await until(lambda: gateway.chooser.choices)
            await gateway.settled()
            gateway.clock.advance(4)
            assert (await client.answer()).status == 200
            assert gateway.recorder.retries == ["connect"]
        for one in fill:
            one.close()


# Beside the request


async def test_a_late_first_event_is_hedged(pair: Gateway, engine: FakeEngine, second: FakeEngine) -> None:
    engine.script = [silent]
    second.script = [stream(TOKEN, DONE)]
    specs = tuple(pair.desired.models[0].versions[0].backends)
    spec = model(*specs, hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        assert (await client.answer()).body == TOKEN + DONE
        await until(lambda: engine.left == 1)
        record = await gateway.record()
        assert (record.backend, record.attempts, record.outcome) == (second.url, 2, Outcome.OK)
        assert gateway.recorder.retries == ["hedge"]
        assert gateway.counters.hedges == 1
        assert [choice.released for choice in gateway.chooser.choices] == [[Outcome.ABORTED], [Outcome.OK]]
        assert len(gateway.limits.reservations) == 1


async def test_the_first_of_two_attempts_may_still_win(engine: FakeEngine, second: FakeEngine) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await stream(TOKEN, DONE)(turn)

    engine.script = [late]
    second.script = [silent]
    spec = model(backend(engine.url), backend(second.url), hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        await until(lambda: second.requests)
        release.set()
        assert (await client.answer()).body == TOKEN + DONE
        await until(lambda: second.left == 1)
        assert (await gateway.record()).backend == engine.url


async def test_when_one_of_two_attempts_fails_the_other_goes_on(engine: FakeEngine, second: FakeEngine) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await stream(TOKEN, DONE)(turn)

    engine.script = [late]
    second.script = [dies_at_once]
    spec = model(backend(engine.url), backend(second.url), hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        await until(lambda: gateway.recorder.retries == ["lost"])
        release.set()
        assert (await client.answer()).body == TOKEN + DONE
        await gateway.record()


async def test_a_client_that_leaves_two_attempts_frees_both(engine: FakeEngine, second: FakeEngine) -> None:
    engine.script = second.script = [silent]
    spec = model(backend(engine.url), backend(second.url), hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        await until(lambda: second.requests)
        client.close()
        await until(lambda: engine.left == second.left == 1)
        assert (await gateway.record()).outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (whole(), Outcome.OK),
        (whole(500), Outcome.ERROR),
        (whole(503), Outcome.REJECTED),
        (closes_unanswered, Outcome.ERROR),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", close=True), Outcome.CUT),
    ],
)
async def test_a_copys_answer_is_thrown_away_and_counted(
    engine: FakeEngine, second: FakeEngine, behaviour: Any, outcome: Outcome
) -> None:
    second.script = [behaviour]
    versions = (VersionSpec("v1", 1000, (backend(engine.url),)), VersionSpec("v2", 0, (backend(second.url),)))
    spec = ModelSpec("chat", 1, versions, mirror=MirrorSpec("v2", 1.0))
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        assert (await client.ask(post(CHAT))).body == ANSWER
        await until(lambda: gateway.counters.mirrors)
        assert gateway.counters.mirrors == [outcome]
        facts = [("v2", Content(said=True), TokenCounts(), False)]
        assert gateway.counters.mirrored_answers == (facts if outcome is Outcome.OK else [])
        record = await gateway.record()
        assert (record.version, record.attempts, record.outcome) == ("v1", 1, Outcome.OK)
    assert second.requests[0].body == engine.requests[0].body


@pytest.mark.parametrize(("padding", "most"), [(2**20, 9), (0, 20)])
async def test_a_version_that_hangs_holds_few_copies(
    engine: FakeEngine, second: FakeEngine, monkeypatch: pytest.MonkeyPatch, padding: int, most: int
) -> None:
    monkeypatch.setattr(server, "MOST_OPEN", 20)
    monkeypatch.setattr(server, "MOST_BYTES", 10 * 2**20)
    second.script = [silent]
    versions = (VersionSpec("v1", 1000, (backend(engine.url),)), VersionSpec("v2", 0, (backend(second.url),)))
    spec = ModelSpec("chat", 1, versions, mirror=MirrorSpec("v2", 1.0), timeouts=TimeoutSpec(first_event_s=60.0))
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        for _ in range(30):
            assert (await client.ask(post(b" " * padding + b'{"model":"chat"}'))).status == 200
        await until(lambda: len(second.requests) == most)
        assert gateway.counters.mirrors == [Outcome.ABORTED] * (30 - most)
        gateway.clock.advance(61.0)
        assert gateway.counters.mirrors[30 - most :] == [Outcome.TIMEOUT] * most
        assert (await client.ask(post(CHAT))).status == 200
        await until(lambda: len(second.requests) == most + 1)


@pytest.mark.parametrize(
    ("request_", "behaviour", "body"),
    [
        (CHAT, whole(200, ANSWER, "date: today", "x-request-id: theirs"), ANSWER),
        (STREAM, stream(TOKEN, DONE), TOKEN + DONE),
    ],
)
async def test_an_equal_deterministic_request_is_answered_from_the_cache(
    gateway: Gateway, engine: FakeEngine, client: RawClient, request_: dict[str, Any], behaviour: Any, body: bytes
) -> None:
    engine.script = [behaviour]
    gateway.chooser.caches["chat"] = Answers()
    request = post({**request_, "temperature": 0})
    first, again = await client.ask(request), await client.ask(request)
    assert first.body == again.body == body
    assert len(engine.requests) == 1
    assert (first.headers.get("x-cache"), again.headers["x-cache"]) == (None, "hit")
    assert "date" not in again.headers
    assert again.headers["x-request-id"] not in ("theirs", first.headers["x-request-id"])
    assert again.headers["content-type"] == first.headers["content-type"]
    record = await gateway.record(2)
    assert (record.outcome, record.prompt_tokens, record.completion_tokens, record.backend) == (Outcome.OK, 0, 0, "")
    assert gateway.counters.lookups == [False, True]


async def test_an_answer_of_a_smaller_model_is_not_kept_for_the_larger_one(gateway: Gateway, client: RawClient) -> None:
    answers = gateway.chooser.caches["chat"] = Answers()
    gateway.chooser.degraded_from = "chat"
    answer = await client.ask(post({**CHAT, "temperature": 0}))
    assert answer.headers["x-degraded-from"] == "chat"
    await gateway.record()
    assert answers.kept == {}


@pytest.mark.parametrize("behaviour", [whole(500), stream(TOKEN), error_then_done()])
async def test_an_answer_that_is_not_whole_is_not_kept(gateway: Gateway, engine: FakeEngine, behaviour: Any) -> None:
    engine.script = [behaviour]
    answers = gateway.chooser.caches["chat"] = Answers()
    async with await gateway.connect() as client:
        await client.send(post({**STREAM, "temperature": 0}))
        await client.head()
        await gateway.record()
    assert answers.kept == {}
