"""Ollama's own client through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import ollama
import orjson
import pytest

from tests.fakes.scripted_engine import JSON, NDJSON, ScriptedEngine, scripted_engine
from tests.fakes.spoken_gateway import SpokenGateway, model, spoken_gateway

CHAT = "/api/chat"
HELLO = [{"role": "user", "content": "hi"}]


def line(text: str, **more: object) -> bytes:
    message = {"role": "assistant", "content": text}
    return (
        orjson.dumps(
            {"model": "served", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False, **more}
        )
        + b"\n"
    )


LAST = line("", done=True, done_reason="stop", prompt_eval_count=9, eval_count=2)


@dataclass
class World:
    engine: ScriptedEngine
    gateway: SpokenGateway
    client: ollama.AsyncClient


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        scripted_engine() as engine,
        spoken_gateway(model("chat", engine.url)) as gateway,
        ollama.AsyncClient(host=gateway.url) as client,
    ):
        yield World(engine, gateway, client)


async def text_of(world: World) -> str:
    """Return what a streamed chat says."""
    return "".join([part.message.content or "" async for part in await world.client.chat("chat", HELLO, stream=True)])


async def test_a_stream(world: World) -> None:
    world.engine.says(CHAT, NDJSON, line("a") + line("b")[:20], line("b")[20:], LAST)
    assert await text_of(world) == "ab"
    assert orjson.loads(world.engine.requests[0][1])["model"] == "served"
    record = await world.gateway.record()
    assert (record.outcome, record.prompt_tokens, record.completion_tokens) == ("ok", 9, 2)


async def test_one_answer_and_embeddings(world: World) -> None:
    world.engine.says(CHAT, JSON, line("ab", done=True, prompt_eval_count=9, eval_count=2))
    assert (await world.client.chat("chat", HELLO)).message.content == "ab"
    assert (await world.gateway.record(1)).completion_tokens == 2
    world.engine.says("/api/embed", JSON, b'{"model":"served","embeddings":[[1.0]],"prompt_eval_count":3}')
    assert (await world.client.embed("chat", "hi")).embeddings == [[1.0]]
    assert (await world.gateway.record(2)).prompt_tokens == 3


async def test_lists(world: World) -> None:
    assert [entry.model for entry in (await world.client.list()).models] == ["chat"]
    assert [entry.model for entry in (await world.client.ps()).models] == ["chat"]


async def test_refusals(world: World) -> None:
    with pytest.raises(ollama.ResponseError, match="there is no model other") as caught:
        await world.client.chat("other", HELLO)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="administers the engine") as caught:
        await world.client.pull("chat")
    assert caught.value.status_code == 403


@pytest.mark.parametrize("last", [[], [line("c")[:20]]], ids=["between lines", "within a line"])
async def test_an_engine_that_dies_is_raised(world: World, last: list[bytes]) -> None:
    world.engine.says(CHAT, NDJSON, line("a"), *last, dies=True)
    with pytest.raises(ollama.ResponseError, match="engine"):
        await text_of(world)
    assert (await world.gateway.record()).outcome == "cut"


async def test_an_error_in_a_stream_is_raised(world: World) -> None:
    world.engine.says(CHAT, NDJSON, line("a"), b'{"error":"model runner has unexpectedly stopped"}\n')
    with pytest.raises(ollama.ResponseError, match="unexpectedly stopped"):
        await text_of(world)
    assert (await world.gateway.record()).outcome == "error"
