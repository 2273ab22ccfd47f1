"""Streams that break off: none of them looks finished, over raw sockets."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.gateway.request import Outcome
from tests.fakes.engine import (
    SSE_HEAD,
    TOKEN,
    FakeEngine,
    Turn,
    chunk,
    dies_after,
    error_then_done,
    held,
    raw,
    stream,
)
from tests.fakes.gateway import CHAT, STREAM, Gateway, broken_stream
from tests.fakes.raw_http import Broken, RawClient, post
from tests.patience import HANG_S


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
