"""A real Triton behind the gateway, asked by NVIDIA's own client: tensors pass byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from controlplane.demo.repository import write_repository
from controlplane.demo.triton import TritonServer
from controlplane.gateway.request import Outcome
from tests.alive import alive
from tests.fakes.spoken_gateway import SpokenGateway, model, spoken_gateway

tritonclient = pytest.importorskip("tritonclient.http.aio")

pytestmark = [pytest.mark.needs("triton"), pytest.mark.timeout(600)]

CONFIG = """
backend: "python"
max_batch_size: 0
version_policy { all {} }
input [
  { name: "numbers" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "words" data_type: TYPE_STRING dims: [ -1 ] }
]
output [
  { name: "numbers_back" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "words_back" data_type: TYPE_STRING dims: [ -1 ] }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
ECHO = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            back = []
            for name in ("numbers", "words"):
                tensor = pb_utils.get_input_tensor_by_name(request, name)
                back.append(pb_utils.Tensor(name + "_back", tensor.as_numpy()))
            answers.append(pb_utils.InferenceResponse(output_tensors=back))
        return answers
"""


NUMBERS = np.array([0, -1.5, 3e38, 0.1, np.pi], np.float32)


@dataclass
class World:
    triton: TritonServer
    gateway: SpokenGateway


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    repository = tmp_path / "models"
    write_repository(repository, token_seconds=0.001)
    for version in ("1", "2"):
        folder = repository / "echo" / version
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(ECHO)
    (repository / "echo" / "config.pbtxt").write_text(CONFIG)
    triton = TritonServer(repository, tmp_path / "triton", ("model", "echo"))
    await triton.start()
    try:
        assert triton.child is not None
        models = (
            model("my echo", triton.http_url, "echo", path_version="2", engine="triton"),
            model("llm", triton.http_url, "model", engine="triton"),
            model("gone", triton.http_url, "gone", engine="triton"),
        )
        async with alive(triton.child), spoken_gateway(*models) as gateway:
            yield World(triton, gateway)
    finally:
        await triton.stop()


def inputs(binary: bool) -> list[Any]:
    """Return two tensors, as JSON or as bytes after it."""
    numbers = tritonclient.InferInput("numbers", [5], "FP32")
    numbers.set_data_from_numpy(NUMBERS, binary_data=binary)
    words = tritonclient.InferInput("words", [3], "BYTES")
    words.set_data_from_numpy(np.array([b"model", '{"ü":1}'.encode(), b""], np.object_), binary_data=binary)
    return [numbers, words]


async def test_one_server_is_asked_in_every_way(world: World) -> None:
    # One test: a real Triton takes seconds to start.
    client = tritonclient.InferenceServerClient(world.gateway.url.removeprefix("http://"))
    try:
        await _is_asked_about_itself(world, client)
        await _infers(world, client)
        await _refuses(world, client)
    finally:
        await client.close()
    await _generates(world)


async def _is_asked_about_itself(world: World, client: Any) -> None:
    assert await client.is_server_live() and await client.is_server_ready()
    assert "binary_tensor_data" in (await client.get_server_metadata())["extensions"]
    assert await client.is_model_ready("my echo") and not await client.is_model_ready("gone")
    assert (await client.get_model_metadata("my echo"))["versions"] == ["2"]
    assert (await client.get_model_config("my echo"))["name"] == "echo"


async def _infers(world: World, client: Any) -> None:
    before = len(world.gateway.recorder.records)
    for compression in (None, "gzip", "deflate"):
        for binary in (True, False):
            result = await client.infer(
                "my echo",
                inputs(binary),
                model_version="1",
                request_compression_algorithm=compression,
                response_compression_algorithm=compression,
            )
            assert result.get_response()["model_version"] == "2", "the gateway chooses the version"
            np.testing.assert_array_equal(result.as_numpy("numbers_back"), NUMBERS)
            assert list(result.as_numpy("words_back")) == [b"model", '{"ü":1}'.encode(), b""]
    records = world.gateway.recorder.records[before:]
    assert {(record.outcome, record.operation, record.completion_tokens) for record in records} == {
        (Outcome.OK, "infer", None)
    }


async def _refuses(world: World, client: Any) -> None:
    with pytest.raises(tritonclient.InferenceServerException, match="there is no model other"):
        await client.infer("other", inputs(True))
    with pytest.raises(tritonclient.InferenceServerException, match="unknown model: 'gone'"):
        await client.infer("gone", inputs(True))
    with pytest.raises(tritonclient.InferenceServerException, match="administers the engine"):
        await client.unload_model("my echo")
    with pytest.raises(tritonclient.InferenceServerException, match="administers the engine"):
        await client.register_system_shared_memory("x", "/x", 1)


async def _generates(world: World) -> None:
    before = len(world.gateway.recorder.records)
    url = f"{world.gateway.url}/v2/models/llm"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/generate_stream", json={"text_input": "hi"}) as answer:
            events = (await answer.text()).split("\n\n")[:-1]
            assert answer.status == 200 and answer.headers["x-request-id"]
        assert 5 <= len(events) <= 15 and "stop" in events[-1]
        async with session.post(f"{url}/generate", json={"text_input": "hi", "stream": False}) as answer:
            assert (await answer.json())["text_output"].startswith("v1:")
        async with session.post(f"{url}/generate_stream", json={"wrong": "hi"}) as answer:
            assert answer.status == 400 and "text_input" in (await answer.json())["error"]
    await asyncio.sleep(0)
    stream, whole, wrong = world.gateway.recorder.records[before:]
    assert (stream.outcome, whole.outcome, wrong.outcome) == (Outcome.OK, Outcome.OK, Outcome.INVALID)
    assert stream.first_s is not None
