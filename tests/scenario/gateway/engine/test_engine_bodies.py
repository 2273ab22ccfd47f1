"""Bodies and heads that engines put on the wire, and what becomes of them, over raw sockets."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.gateway.request import Outcome
from tests.fakes.engine import (
    ANSWER,
    DONE,
    SSE_HEAD,
    TOKEN,
    FakeEngine,
    Turn,
    chunk,
    large,
    raw,
    stream,
    trickle,
    whole,
)
from tests.fakes.gateway import BUSY, CHAT, STREAM, Gateway
from tests.fakes.raw_http import RawClient, get, post
from tests.patience import HANG_S


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
