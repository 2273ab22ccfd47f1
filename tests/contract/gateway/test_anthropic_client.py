"""Anthropic's own client through the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import pytest

from tests.fakes.scripted_engine import JSON, SSE, ScriptedEngine, scripted_engine
from tests.fakes.spoken_gateway import SpokenGateway, model, spoken_gateway

STREAMS = Path("tests/fixtures/streams")
MESSAGES = "/v1/messages"
HELLO: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]


@dataclass
class World:
    engine: ScriptedEngine
    gateway: SpokenGateway
    client: anthropic.AsyncAnthropic


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        scripted_engine() as engine,
        spoken_gateway(model("chat", engine.url)) as gateway,
        anthropic.AsyncAnthropic(api_key="k", base_url=gateway.url, max_retries=0) as client,
    ):
        yield World(engine, gateway, client)


async def text_of(world: World) -> str:
    """Return what a streamed message says."""
    async with world.client.messages.stream(model="chat", max_tokens=4, messages=HELLO) as stream:
        return "".join([text async for text in stream.text_stream])


async def test_a_stream(world: World) -> None:
    world.engine.says(MESSAGES, SSE, (STREAMS / "llama-server-messages.sse").read_bytes())
    assert await text_of(world) == "#xUR"
    record = await world.gateway.record()
    assert (record.outcome, record.prompt_tokens, record.completion_tokens, record.cached_tokens) == ("ok", 20, 4, 19)


async def test_one_message(world: World) -> None:
    world.engine.says(MESSAGES, JSON, (STREAMS / "llama-server-messages.json").read_bytes())
    message = await world.client.messages.create(model="chat", max_tokens=4, messages=HELLO)
    assert message.content[0].type == "text" and message.content[0].text == "M^^0"
    assert (await world.gateway.record()).prompt_tokens == 20


async def test_counting_and_models(world: World) -> None:
    world.engine.says("/v1/messages/count_tokens", JSON, b'{"input_tokens":20}')
    assert (await world.client.messages.count_tokens(model="chat", messages=HELLO)).input_tokens == 20
    assert [entry.id async for entry in world.client.models.list()] == ["chat"]
    assert (await world.client.models.retrieve("chat")).display_name == "chat"


async def test_refusals(world: World) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await world.client.messages.create(model="other", max_tokens=4, messages=HELLO)
    assert caught.value.request_id and isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "not_found_error"
    world.gateway.limits.spent.add("chat")
    with pytest.raises(anthropic.RateLimitError):
        await world.client.messages.create(model="chat", max_tokens=4, messages=HELLO)


@pytest.mark.parametrize("cut", [b"event: content_block_stop", b'"text":"U"'])
async def test_an_engine_that_dies_is_raised(world: World, cut: bytes) -> None:
    body = (STREAMS / "llama-server-messages.sse").read_bytes()
    world.engine.says(MESSAGES, SSE, body[: body.index(cut)], dies=True)
    with pytest.raises(anthropic.APIStatusError, match="engine"):
        await text_of(world)
    assert (await world.gateway.record()).outcome == "cut"


async def test_an_error_of_another_shape_is_raised(world: World) -> None:
    body = (STREAMS / "llama-server-messages.sse").read_bytes()
    begin = body[: body.index(b"event: content_block_stop")]
    world.engine.says(MESSAGES, SSE, begin, b'data: {"error":{"message":"EngineCore died"}}\n\n', b"data: [DONE]\n\n")
    with pytest.raises(anthropic.APIStatusError, match="EngineCore died"):
        await text_of(world)
    assert (await world.gateway.record()).outcome == "error"


async def test_an_overloaded_engine_is_a_status(world: World) -> None:
    busy = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    world.engine.says(MESSAGES, SSE, busy)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await text_of(world)
    assert caught.value.status_code == 503
