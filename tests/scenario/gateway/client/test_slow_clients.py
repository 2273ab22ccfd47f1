"""Clients that are slow, that wait, or that leave, over raw sockets."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Outcome
from tests.fakes.engine import TOKEN, FakeEngine, held, large, silent
from tests.fakes.gateway import CHAT, STREAM, Gateway
from tests.fakes.raw_http import RawClient, get, post
from tests.patience import HANG_S, until


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
