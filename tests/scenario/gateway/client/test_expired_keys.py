"""A key that expires while its client's connection is open, with the real keys and limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from controlplane.gateway.exchange import intake
from controlplane.gateway.request import Outcome
from tests.fakes.engine import DONE, TOKEN, FakeEngine, Turn, chunk, stream, whole
from tests.fakes.gateway import CHAT, STREAM, Gateway, backend, model
from tests.fakes.limits import NOON, SECRET, World, document, key
from tests.fakes.raw_http import post
from tests.patience import HANG_S

KEY = f"Authorization: Bearer cpk_ab12_{SECRET}"
PATH = "/v1/chat/completions"


async def test_the_next_request_is_refused_and_an_open_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = World(replace(document(), keys=(key(expires_at=NOON + 60),)), workers=1)
    monkeypatch.setattr(intake, "time", SimpleNamespace(time=lambda: limits.unix))
    rest = asyncio.Event()

    async def held(turn: Turn) -> None:
        await stream(TOKEN, end=False)(turn)
        await asyncio.wait_for(rest.wait(), HANG_S)
        await turn.send(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    async with FakeEngine(whole(), held, whole()) as engine:
        world = Gateway(model(backend(engine.url)))
        world.limits = limits.workers[0]  # type: ignore[assignment]
        async with world, await world.connect() as client, await world.connect() as streaming:
            assert (await client.ask(post(CHAT, PATH, KEY))).status == 200
            await streaming.send(post(STREAM, PATH, KEY))
            await streaming.until(b"token")
            limits.sleep(59.9)
            assert (await client.ask(post(CHAT, PATH, KEY))).status == 200
            limits.sleep(0.1)
            for _ in range(2):  # the connection stays: another key may follow on it
                refused = await client.ask(post(CHAT, PATH, KEY))
                assert (refused.status, refused.json["error"]["code"]) == (401, "expired_api_key")
                assert refused.headers["x-should-retry"] == "false"
            rest.set()
            assert DONE in await streaming.until(b"0\r\n\r\n")
    assert len(engine.requests) == 3
    assert [record.outcome for record in world.recorder.records] == [
        *([Outcome.OK] * 2),
        *([Outcome.INVALID] * 2),
        Outcome.OK,
    ]


async def test_a_key_that_is_revoked_or_renewed_counts_from_the_next_request_on() -> None:
    limits = World(document(), workers=1)
    async with FakeEngine(whole()) as engine:
        world = Gateway(model(backend(engine.url)))
        world.limits = limits.workers[0]  # type: ignore[assignment]
        async with world, await world.connect() as client:
            for expires_at, status in ((None, 200), (1.0, 401), (4e9, 200)):
                limits.apply(replace(document(revision=f"{expires_at}"), keys=(key(expires_at=expires_at),)))
                assert (await client.ask(post(CHAT, PATH, KEY))).status == status
            limits.apply(replace(document(revision="none"), keys=()))
            assert (await client.ask(post(CHAT, PATH, KEY))).status == 401
