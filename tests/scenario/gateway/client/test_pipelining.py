"""Requests that come before the answer to the last one, over raw sockets."""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.gateway.request import Outcome
from controlplane.gateway.wire.client import MAX_PIPELINED, MAX_PIPELINED_BYTES
from tests.fakes.engine import FakeEngine, silent, whole
from tests.fakes.gateway import CHAT, Gateway, backend, model
from tests.fakes.raw_http import RawClient, get, post
from tests.patience import until


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
