"""A real llama-server behind the gateway, asked by real clients: OpenAI's, Anthropic's and curl."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from controlplane.gateway.request import Outcome
from tests.contract.real_servers import llama_server
from tests.fakes.spoken_gateway import SpokenGateway, model, spoken_gateway

pytestmark = pytest.mark.needs("llama-server")

LONG = 16_000
"""Tokens of an answer that does not end while a test looks."""
HELLO: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_server(tmp_path_factory.mktemp("llama")) as server:
        yield server.url


@pytest.fixture
async def gateway(engine: str) -> AsyncIterator[SpokenGateway]:
    async with spoken_gateway(model("chat", engine, served="tiny", engine="llamacpp")) as running:
        yield running


@pytest.fixture
async def client(gateway: SpokenGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{gateway.url}/v1", max_retries=0) as made:
        yield made


async def test_a_streamed_chat(gateway: SpokenGateway, client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=5, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), "the client asked for no usage"
    assert chunks[-1].choices[0].finish_reason == "length"
    record = await gateway.record()
    assert (record.outcome, record.completion_tokens, record.operation) == (Outcome.OK, 5, "chat")
    assert record.prompt_tokens and record.first_s is not None


async def test_one_chat_a_completion_and_a_response(gateway: SpokenGateway, client: openai.AsyncOpenAI) -> None:
    chat = await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=5)
    assert chat.usage is not None and chat.usage.completion_tokens == 5
    completion = await client.completions.create(model="chat", prompt="hi", max_tokens=5)
    assert completion.usage is not None and completion.usage.prompt_tokens == 2
    response = await client.responses.create(model="chat", input="hi", max_output_tokens=5)
    assert response.usage is not None and response.usage.output_tokens == 5
    stream = await client.responses.create(model="chat", input="hi", max_output_tokens=5, stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"
    await gateway.record(4)
    assert [record.completion_tokens for record in gateway.recorder.records] == [5, 5, 5, 5]
    assert [record.operation for record in gateway.recorder.records] == ["chat", "completion", "response", "response"]


async def test_messages(gateway: SpokenGateway) -> None:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=gateway.url, max_retries=0) as client:
        counted = await client.messages.count_tokens(model="chat", messages=[{"role": "user", "content": "hi"}])
        async with client.messages.stream(
            model="chat", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            message = await stream.get_final_message()
    assert message.usage.output_tokens == 5
    record = await gateway.record(2)
    assert (record.prompt_tokens, record.completion_tokens) == (counted.input_tokens, 5)


async def test_another_path_of_the_engine(gateway: SpokenGateway, client: openai.AsyncOpenAI) -> None:
    by_model: Any = {"headers": {"x-model": "chat"}}
    answer = await client.post("../tokenize", cast_to=object, body={"content": "hi", "model": "chat"})
    assert answer == {"tokens": [74, 75]}
    infill = await client.post("../completion", cast_to=object, body={"prompt": "hi", "n_predict": 3}, options=by_model)
    assert isinstance(infill, dict) and infill["tokens_predicted"] == 3
    with pytest.raises(openai.PermissionDeniedError):
        await client.get("../slots", cast_to=object, options=by_model)


async def test_a_bad_request_has_the_engines_words(gateway: SpokenGateway, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Expected 'messages' to be an array"):
        await client.post("/chat/completions", cast_to=object, body={"model": "chat", "messages": 1})
    assert (await gateway.record()).outcome is Outcome.INVALID


async def test_a_client_that_leaves(gateway: SpokenGateway, client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=LONG, stream=True)
    await anext(aiter(stream))
    await stream.close()
    record = await gateway.record()
    assert record.outcome is Outcome.ABORTED and record.estimated and 0 < (record.completion_tokens or 0) < LONG


async def test_an_engine_that_is_killed(tmp_path: Path) -> None:
    with llama_server(tmp_path) as server:
        async with (
            spoken_gateway(model("chat", server.url, served="tiny")) as gateway,
            openai.AsyncOpenAI(api_key="k", base_url=f"{gateway.url}/v1", max_retries=0) as client,
        ):
            stream = await client.chat.completions.create(model="chat", messages=HELLO, max_tokens=LONG, stream=True)
            with pytest.raises(openai.APIError) as caught:
                async for _ in stream:
                    server.process.kill()
            assert not isinstance(caught.value, openai.APIConnectionError), "the client got the event that says why"
            assert (await gateway.record()).outcome is Outcome.CUT


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
async def test_curl(gateway: SpokenGateway) -> None:
    body = '{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"stream":true}'
    command = ["curl", "--silent", "--no-buffer", "--fail", f"{gateway.url}/v1/chat/completions", "--data", body]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.count(b'"content":"') == 3 and out.endswith(b"data: [DONE]\n\n") and b'"usage"' not in out
