"""Engines that are silent: deadlines, and signs of life for the client, over raw sockets."""

from __future__ import annotations

import asyncio
import socket

from controlplane.gateway.desired.document import (
    TimeoutSpec,
)
from controlplane.gateway.request import Outcome
from tests.fakes.engine import (
    ANSWER,
    DONE,
    SSE_HEAD,
    TOKEN,
    FakeEngine,
    Turn,
    chunk,
    held,
    silent,
    stream,
    whole,
)
from tests.fakes.gateway import BUSY, CHAT, STREAM, Gateway, backend, model
from tests.fakes.raw_http import RawClient, post
from tests.patience import until


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
