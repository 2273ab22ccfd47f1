"""A real SGLang on the CPU, read with its engine recognised. `make test-engines` installs and runs it.

One server serves all tests, because it starts for minutes: each test tells by how much the numbers grew.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from collectors.probe.source import ProbeSource
from tests.contract.real_servers import running
from tests.engines.environments import HERE, START_S, needs, program
from tests.engines.reading import Reading, fetched, grown, lost, outcomes, read
from tests.engines.traffic import hang_up, post
from tests.patience import HANG_S
from tests.ports import free_address

pytestmark = needs("sglang", "SGLang")

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "SGLANG_USE_CPU_ENGINE": "1",
    "SGLANG_CPU_OMP_THREADS_BIND": "0",
}
FLAGS = (
    "--device cpu --dtype bfloat16 --attention-backend torch_native --sampling-backend pytorch --grammar-backend none"
    " --enable-metrics --enable-cache-report --max-total-tokens 8192 --max-running-requests 4 --context-length 512"
    " --disable-overlap-schedule --disable-cuda-graph --mem-fraction-static 0.2"
)
REQUESTS = ("llm_requests_total", "served_model", "outcome")
TOKENS = ("llm_tokens_total", "type")


@pytest.fixture(scope="module")
def sglang(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, environment = tmp_path_factory.mktemp("sglang"), {**os.environ, **SETTINGS}
    subprocess.run([program("sglang"), HERE / "tiny_transformer.py", folder / "model"], check=True, env=environment)
    address = free_address()
    host, port = address.split(":")
    command = [str(program("sglang")), "-m", "sglang.launch_server", "--model-path", f"{folder}/model", *FLAGS.split()]
    command += ["--served-model-name", "chat", "--host", host, "--port", port]
    # /health_generate asks the model, so that nothing of the start is counted later.
    ready = f"http://{address}/health_generate"
    with running(command, folder, ready, environment, within_s=START_S):
        yield f"http://{address}"


def question(**more: object) -> dict[str, object]:
    return {"model": "chat", "prompt": "hello", "max_tokens": 8, "ignore_eos": True, **more}


async def counted(url: str, before: Reading, requests: int) -> Reading:
    """Return the first reading with so many requests more: SGLang counts a request after its answer."""
    async with asyncio.timeout(HANG_S):
        while True:
            seen = await read(f"{url}/metrics")
            if sum(grown(before.by(*REQUESTS), seen.by(*REQUESTS)).values()) >= requests:
                return seen
            await asyncio.sleep(0.1)


async def test_answers_are_counted_without_an_outcome_and_refusals_not_at_all(sglang: str) -> None:
    url = f"{sglang}/v1/completions"
    assert await post(url, question()) == 200
    before = await read(f"{sglang}/metrics")
    assert (before.health.health, before.health.engine) == ("up", "sglang")
    assert (before.health.missing, before.health.unknown_labels, before.health.remark) == ((), (), "")
    assert [await post(url, question(prompt=f"question {n}")) for n in range(3)] == [200] * 3
    assert [await post(url, question(stream=True)) for _ in range(2)] == [200] * 2
    assert await post(url, question(model="nowhere")) == 200, "SGLang serves any name"
    assert await post(url, b"{not json") == 400
    assert await post(url, question(temperature="hot")) == 400
    assert await post(url, question(prompt="x" * 600)) == 400

    seen = await counted(sglang, before, 6)
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {("chat", "unknown"): 6}
    for name in ("llm_request_duration_seconds", "llm_time_to_first_token_seconds"):
        assert seen.one(f"{name}_count") - before.one(f"{name}_count") == 6, name
    tokens = grown(before.by(*TOKENS), seen.by(*TOKENS))
    assert (tokens["input",], tokens["output",]) == (45, 48)
    queries = ("llm_prefix_cache_queries_total", "unit")
    assert grown(before.by(*queries), seen.by(*queries)) == {("token",): 45}
    assert 0 < tokens["input_cached",] < 45
    assert (seen.one("llm_requests_running"), seen.one("llm_requests_waiting")) == (0, 0)


async def test_more_requests_than_places_wait_and_those_given_up_are_counted_as_others(sglang: str) -> None:
    before = await read(f"{sglang}/metrics")
    url = f"{sglang}/v1/completions"
    asked = [asyncio.create_task(post(url, question(max_tokens=400))) for _ in range(6)]
    waiting = 0.0
    while not waiting:
        seen = await read(f"{sglang}/metrics")
        waiting = seen.one("llm_requests_waiting")
        assert seen.one("llm_requests_running") <= 4
    assert await asyncio.gather(*asked) == [200] * 6
    await asyncio.gather(
        *(hang_up(url, question(max_tokens=400, stream=True), after=b"data:") for _ in range(2)),
    )
    seen = await counted(sglang, before, 8)
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {("chat", "unknown"): 8}
    assert seen.one("llm_request_duration_seconds_count") - before.one("llm_request_duration_seconds_count") == 8


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
async def test_a_probe_asks_it_in_each_protocol(sglang: str, path: str) -> None:
    probe = ProbeSource(sglang + path, model="chat")
    assert outcomes(await probe.read(HANG_S)) == {("success", ""): 1}
    await probe.close()


async def test_this_server_still_has_what_is_read_of_the_capture(sglang: str) -> None:
    assert lost(await fetched(f"{sglang}/metrics"), "sglang-0.5.23-cpu.prom", "sglang") == {}
