"""Connections to engines: kept, closed, mixed up, and their credentials, over raw sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.gateway.desired.document import (
    CredentialsSpec,
)
from controlplane.gateway.request import Outcome
from controlplane.gateway.wire.pool import MAX_IDLE_S
from tests.fakes.engine import (
    ANSWER,
    FakeEngine,
    closes_unanswered,
    raw,
    whole,
)
from tests.fakes.gateway import CHAT, Gateway, backend, model
from tests.fakes.raw_http import RawClient, post
from tests.patience import until


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
