"""OpenAI's own client through the gateway: answers, refusals, and streams that break off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import openai
import orjson
import pytest

from tests.fakes.scripted_engine import JSON, SSE, ScriptedEngine, scripted_engine
from tests.fakes.spoken_gateway import SpokenGateway, model, spoken_gateway

STREAMS = Path("tests/fixtures/streams")
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"served","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'  # noqa: E501
SGLANG_ERROR = b'data: {"object":"error","message":"The queue is full.","type":"503","code":503}\n\n'
DONE = b"data: [DONE]\n\n"
HELLO: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@dataclass
class World:
    engine: ScriptedEngine
    gateway: SpokenGateway
    client: openai.AsyncOpenAI


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        scripted_engine() as engine,
        spoken_gateway(model("chat", engine.url)) as gateway,
        openai.AsyncOpenAI(api_key="k", base_url=f"{gateway.url}/v1", max_retries=0) as client,
    ):
        yield World(engine, gateway, client)


async def text_of(world: World, **more: object) -> str:
    """Return what a streamed chat says."""
    stream = await world.client.chat.completions.create(model="chat", messages=HELLO, stream=True, **more)  # type: ignore[call-overload]
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def test_a_stream_is_whole_and_its_usage_stays_with_the_gateway(world: World) -> None:
    world.engine.says(CHAT, SSE, (STREAMS / "llama-server-chat-usage.sse").read_bytes())
    assert await text_of(world) == '!A"\\'
    (_, body), record = world.engine.requests[0], await world.gateway.record()
    assert orjson.loads(body)["stream_options"] == {"include_usage": True} and orjson.loads(body)["model"] == "served"
    assert (record.outcome, record.prompt_tokens, record.completion_tokens, record.cached_tokens) == ("ok", 20, 4, 19)


async def test_a_client_that_asks_for_usage_gets_it(world: World) -> None:
    world.engine.says(CHAT, SSE, (STREAMS / "llama-server-chat-usage.sse").read_bytes())
    options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
    stream = await world.client.chat.completions.create(
        model="chat", messages=HELLO, stream=True, stream_options=options
    )
    usage = [chunk.usage async for chunk in stream][-1]
    assert usage is not None and usage.completion_tokens == 4


async def test_one_answer(world: World) -> None:
    world.engine.says(CHAT, JSON, (STREAMS / "llama-server-chat.json").read_bytes())
    answer = await world.client.chat.completions.create(model="chat", messages=HELLO)
    assert answer.choices[0].message.content == "&&&H"
    assert (await world.gateway.record()).completion_tokens == 4


async def test_responses_stream(world: World) -> None:
    world.engine.says(RESPONSES, SSE, (STREAMS / "llama-server-responses.sse").read_bytes())
    stream = await world.client.responses.create(model="chat", input="hi", stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"
    record = await world.gateway.record()
    assert (record.outcome, record.completion_tokens) == ("ok", 4)


async def test_models(world: World) -> None:
    assert [entry.id async for entry in world.client.models.list()] == ["chat"]
    assert (await world.client.models.retrieve("chat")).id == "chat"
    with pytest.raises(openai.NotFoundError):
        await world.client.models.retrieve("other")


async def test_embeddings_as_the_client_asks_for_them(world: World) -> None:
    answer = {
        "object": "list",
        "model": "served",
        "data": [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    world.engine.says("/v1/embeddings", JSON, orjson.dumps(answer))
    made = await world.client.embeddings.create(model="chat", input=["hi"])
    assert made.data[0].embedding == [1.0]
    assert orjson.loads(world.engine.requests[0][1])["encoding_format"] == "base64"
    record = await world.gateway.record()
    assert (record.prompt_tokens, record.completion_tokens) == (2, 0)


async def test_a_transcription_keeps_its_file(world: World) -> None:
    sound = bytes(range(256)) * 100
    world.engine.says("/v1/audio/transcriptions", JSON, b'{"text":"hello"}')
    made = await world.client.audio.transcriptions.create(model="chat", file=("a.wav", sound))
    assert made.text == "hello"
    sent = world.engine.requests[0][1]
    assert sound in sent and b'name="model"\r\n\r\nserved\r\n' in sent


class TestRefusals:
    async def test_an_unknown_model(self, world: World) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            await world.client.chat.completions.create(model="other", messages=HELLO)
        assert caught.value.code == "model_not_found" and caught.value.request_id
        assert caught.value.response.headers.get_list("x-request-id") == [caught.value.request_id]

    async def test_a_wrong_key(self, world: World) -> None:
        client = world.client.with_options(api_key="wrong")
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model="chat", messages=HELLO)
        assert caught.value.code == "invalid_api_key"

    async def test_a_limit_is_retried_and_a_bad_request_is_not(self, world: World) -> None:
        client = world.client.with_options(max_retries=1)
        world.gateway.limits.spent.add("chat")
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="chat", messages=HELLO)
        assert caught.value.code == "rate_limit_exceeded" and len(world.gateway.recorder.records) == 2
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="other", messages=HELLO)
        assert len(world.gateway.recorder.records) == 3
        assert not world.engine.requests

    async def test_an_unknown_path(self, world: World) -> None:
        with pytest.raises(openai.NotFoundError, match="x-model"):
            await world.client.get("/nothing", cast_to=object)

    async def test_administration(self, world: World) -> None:
        with pytest.raises(openai.PermissionDeniedError, match="administers the engine"):
            await world.client.post("/load_lora_adapter", cast_to=object, options={"headers": {"x-model": "chat"}})
        assert not world.engine.requests


class TestFaults:
    async def test_a_full_queue_under_200_is_a_status(self, world: World) -> None:
        world.engine.says(CHAT, SSE, SGLANG_ERROR, DONE)
        with pytest.raises(openai.InternalServerError, match="queue is full") as caught:
            await text_of(world)
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "1"
        assert (await world.gateway.record()).outcome == "rejected"

    @pytest.mark.parametrize(
        "event",
        [
            SGLANG_ERROR,
            b'data: {"error":{"message":"The queue is full.","type":"x","param":null,"code":500}}\n\n',
            b'data: {"error":"The queue is full.","error_type":"overloaded"}\n\n',
        ],
        ids=["flat", "nested", "tgi"],
    )
    async def test_an_error_in_a_stream_is_raised_though_done_follows(self, world: World, event: bytes) -> None:
        world.engine.says(CHAT, SSE, CHUNK, event, DONE)
        with pytest.raises(openai.APIError, match="queue is full"):
            await text_of(world)
        assert (await world.gateway.record()).outcome == "error"

    async def test_an_abort_is_raised(self, world: World) -> None:
        world.engine.says(CHAT, SSE, CHUNK, CHUNK.replace(b"null", b'"abort"'), DONE)
        with pytest.raises(openai.APIError, match="aborted"):
            await text_of(world)
        assert (await world.gateway.record()).outcome == "error"

    @pytest.mark.parametrize("last", [b"", CHUNK[:50]], ids=["between events", "within an event"])
    async def test_an_engine_that_dies_is_raised(self, world: World, last: bytes) -> None:
        world.engine.says(CHAT, SSE, CHUNK, *([last] if last else []), dies=True)
        with pytest.raises(openai.APIError) as caught:
            await text_of(world)
        assert not isinstance(caught.value, openai.APIConnectionError), "the client got the event that says why"
        assert (await world.gateway.record()).outcome == "cut"

    async def test_a_stream_that_only_stops_is_raised(self, world: World) -> None:
        world.engine.says(CHAT, SSE, CHUNK, CHUNK)
        with pytest.raises(openai.APIError):
            await text_of(world)

    async def test_a_broken_responses_stream_is_raised(self, world: World) -> None:
        body = (STREAMS / "llama-server-responses.sse").read_bytes()
        world.engine.says(RESPONSES, SSE, body[: body.index(b"event: response.output_text.done")], dies=True)
        with pytest.raises(openai.APIError):
            stream = await world.client.responses.create(model="chat", input="hi", stream=True)
            async for _ in stream:
                pass
        assert (await world.gateway.record()).outcome == "cut"
