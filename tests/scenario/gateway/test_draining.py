"""How a worker ends: what is under way is finished, what is cut is told and counted, and no connection is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from controlplane.gateway.exchange.server import DrainReport
from controlplane.gateway.request import Outcome
from tests.fakes.engine import ANSWER, DONE, TOKEN, FakeEngine, Turn, chunk, held, silent, stream, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import RawClient, get, post
from tests.patience import until

CHAT = {"model": "chat"}
STREAM = {"model": "chat", "stream": True}


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine(whole()) as engine:
        yield engine


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    async with Gateway(model(backend(engine.url))) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    async with await gateway.connect() as client:
        yield client


async def draining(gateway: Gateway, timeout_s: float = 300.0) -> asyncio.Task[DrainReport]:
    """Begin a drain."""
    drain = asyncio.create_task(gateway.server.drain(timeout_s))
    await until(lambda: gateway.server.stopping)
    return drain


async def test_without_connections_a_drain_ends_at_once(gateway: Gateway) -> None:
    assert await gateway.server.drain(300) == DrainReport(finished=0, cut=0, tokens_cut=0)


async def test_an_open_stream_is_finished(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    go_on = asyncio.Event()

    async def pauses(turn: Turn) -> None:
        await stream(TOKEN, end=False)(turn)
        await go_on.wait()
        await turn.send(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    engine.script = [pauses]
    await client.send(post(STREAM))
    await client.until(TOKEN)
    drain = await draining(gateway)
    gateway.clock.advance(100)
    assert not drain.done()
    go_on.set()
    assert (await client.ended()).endswith(b"0\r\n\r\n")
    assert await drain == DrainReport(finished=1, cut=0, tokens_cut=0)
    assert (await gateway.record()).outcome is Outcome.OK


async def test_a_request_on_a_kept_connection_is_served_and_told_that_it_was_the_last(
    gateway: Gateway, client: RawClient
) -> None:
    assert (await client.ask(post(CHAT))).status == 200
    drain = await draining(gateway)
    answer = await client.ask(post(CHAT))
    assert (answer.body, answer.headers["connection"]) == (ANSWER, "close")
    assert await client.ended() == b""
    assert (await drain).finished == 1


async def test_resting_connections_are_closed_after_a_moment(gateway: Gateway, client: RawClient) -> None:
    assert (await client.ask(get("/v1/models"))).status == 200
    drain = await draining(gateway)
    await gateway.settled()
    assert not drain.done()
    gateway.clock.advance(1)
    assert await client.ended() == b""
    assert (await drain).cut == 0


async def test_a_request_that_is_arriving_is_awaited(gateway: Gateway, client: RawClient) -> None:
    request = post(CHAT)
    await client.send(request[:30])
    await until(lambda: gateway.server.connections == 1)
    await gateway.settled()
    drain = await draining(gateway)
    gateway.clock.advance(2)
    answer = await client.ask(request[30:])
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert (await drain).finished == 1


async def test_connections_that_wait_in_the_queue_are_served(gateway: Gateway, engine: FakeEngine) -> None:
    waiting = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(20)]
    for one in waiting:  # nothing has been accepted yet: the loop has not run since
        one.sendall(post(CHAT))
        one.setblocking(False)
    assert gateway.server.connections == 0
    drain = asyncio.create_task(gateway.server.drain(300))
    for one in waiting:
        reader, writer = await asyncio.open_connection(sock=one)
        async with RawClient(reader, writer) as client:
            assert (await client.answer()).status == 200
    assert (await drain) == DrainReport(finished=20, cut=0, tokens_cut=0)
    # The socket still listens: its owner may hand it to another worker.
    late = socket.create_connection(("127.0.0.1", gateway.port))
    late.close()


async def test_a_socket_that_is_stopped_accepts_no_more_and_is_not_closed(gateway: Gateway, client: RawClient) -> None:
    assert (await client.ask(get("/v1/models"))).status == 200
    await gateway.server.stop(gateway.socket)
    async with await gateway.connect() as waiting:
        await waiting.send(get("/v1/models"))
        assert (await client.ask(get("/v1/models"))).status == 200
        assert gateway.server.connections == 1
        await gateway.server.start(gateway.socket)
        assert (await waiting.answer()).status == 200


async def test_what_is_open_at_the_deadline_is_cut_and_counted(gateway: Gateway, engine: FakeEngine) -> None:
    began = asyncio.Event()
    engine.script = [held(began, TOKEN, TOKEN, TOKEN), silent]
    async with await gateway.connect() as streaming, await gateway.connect() as waiting:
        await streaming.send(post(STREAM))
        await streaming.until(TOKEN)
        await until(lambda: gateway.chooser.choices[0].tokens == 3)
        await waiting.send(post(CHAT))
        await until(lambda: len(engine.requests) == 2)
        drain = await draining(gateway, 60)
        gateway.clock.advance(60)
        rest = await streaming.ended()
        assert b'"error"' in rest
        assert DONE not in rest
        assert not rest.endswith(b"0\r\n\r\n")
        refused = await waiting.answer()
        assert (refused.status, refused.headers["x-should-retry"]) == (503, "true")
        assert await drain == DrainReport(finished=0, cut=2, tokens_cut=3)
        await until(lambda: engine.left == 2)
        await gateway.record(2)
        outcomes = [(record.outcome, record.reason) for record in gateway.recorder.records]
        assert sorted(outcomes) == [(Outcome.CUT, "stopping"), (Outcome.REJECTED, "stopping")]


async def test_a_request_in_the_queue_is_refused_at_the_deadline(gateway: Gateway, client: RawClient) -> None:
    gateway.chooser.queueing = True
    await client.send(post(CHAT))
    await until(lambda: gateway.chooser.queue)
    drain = await draining(gateway, 60)
    gateway.clock.advance(60)
    assert (await client.answer()).status == 503
    assert gateway.chooser.queue[0].cancelled
    assert (await drain).cut == 1


async def test_closing_ends_a_drain_with_its_report(gateway: Gateway, engine: FakeEngine, client: RawClient) -> None:
    began = asyncio.Event()
    engine.script = [held(began, TOKEN)]
    await client.send(post(STREAM))
    await client.until(TOKEN)
    drain = await draining(gateway)
    await gateway.server.close()
    assert await drain == DrainReport(finished=0, cut=1, tokens_cut=1)
    assert gateway.server.connections == 0


async def test_backends_that_are_named_no_more_lose_their_resting_connections(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    assert (await client.ask(post(CHAT))).status == 200
    assert len(engine.open) == 1
    gateway.server.apply(gateway.desired)
    assert (await client.ask(post(CHAT))).status == 200
    assert engine.connections == 1  # the same engine is still named
    async with FakeEngine(whole()) as other:
        spec = model(backend(other.url))
        gateway.server.apply(type(gateway.desired)("2", (spec,)))
        await until(lambda: not engine.open)


async def test_a_stream_survives_that_its_backend_is_named_no_more(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    go_on = asyncio.Event()

    async def pauses(turn: Turn) -> None:
        await stream(TOKEN, end=False)(turn)
        await go_on.wait()
        await turn.send(chunk(DONE) + b"0\r\n\r\n")

    engine.script = [pauses]
    await client.send(post(STREAM))
    await client.until(TOKEN)
    gateway.server.apply(type(gateway.desired)("2", ()))
    go_on.set()
    assert (await client.until(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
    await until(lambda: not engine.open)
