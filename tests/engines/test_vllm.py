"""A real vLLM on the CPU, read with its engine recognised. `make test-engines` installs and runs it.

One server serves all tests, because it starts for minutes: each test tells by how much the numbers grew.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from collectors.engines.kinds import Api
from collectors.engines.readiness import ReadinessSource
from collectors.probe.source import ProbeSource
from controlplane.config.models import ModelSection
from controlplane.traffic.driver import Placement, Question, VersionState
from controlplane.traffic.drivers import build_drivers
from tests.contract.real_servers import running
from tests.engines.environments import HERE, START_S, needs, program
from tests.engines.reading import Reading, fetched, grown, lost, outcomes, read
from tests.engines.traffic import hang_up, post
from tests.fakes.gateways import FakeGateways
from tests.fakes.status_reading import numbers
from tests.patience import HANG_S
from tests.ports import free_address

pytestmark = needs("vllm", "vLLM")

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
}
FLAGS = (
    "--dtype bfloat16 --max-model-len 512 --max-num-seqs 4 --enforce-eager"
    " --enable-lora --max-lora-rank 8 --max-loras 3"
)
REQUESTS = ("llm_requests_total", "served_model", "outcome", "reason")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and two adapters for it, `v1` and `v2`."""
    made = tmp_path_factory.mktemp("vllm")
    for script, *arguments in (
        ("tiny_transformer.py", made / "model"),
        ("tiny_adapter.py", made / "v1", "1"),
        ("tiny_adapter.py", made / "v2", "2"),
    ):
        subprocess.run([program("vllm"), HERE / script, *arguments], check=True, env={**os.environ, **SETTINGS})
    return made


@pytest.fixture(scope="module")
def vllm(folder: Path) -> Iterator[str]:
    address = free_address()
    host, port = address.split(":")
    command = [str(program("vllm")), "-m", "vllm.entrypoints.openai.api_server", "--model", f"{folder}/model"]
    command += [*FLAGS.split(), "--served-model-name", "chat", "--host", host, "--port", port]
    with running(command, folder, f"http://{address}/health", {**os.environ, **SETTINGS}, within_s=START_S):
        yield f"http://{address}"


def question(**more: object) -> dict[str, object]:
    return {"model": "chat", "prompt": "hello", "max_tokens": 8, "ignore_eos": True, **more}


async def settled(url: str, enough: Callable[[Reading], bool]) -> Reading:
    """Return the first reading that has what the test waits for: vLLM counts a request after its answer."""
    async with asyncio.timeout(HANG_S):
        while True:
            seen = await read(f"{url}/metrics")
            if enough(seen):
                return seen
            await asyncio.sleep(0.1)


async def told(url: str, path: str) -> object:
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        return (await client.get(url + path)).raise_for_status().json()


async def test_a_server_without_a_request_is_recognised_and_lacks_nothing(vllm: str) -> None:
    seen = await read(f"{vllm}/metrics")
    assert (seen.health.health, seen.health.engine) == ("up", "vllm")
    assert (seen.health.missing, seen.health.unknown_labels, seen.health.remark) == ((), (), "")
    assert set(seen.by(*REQUESTS).values()) == {0.0}


async def test_answers_are_counted_by_outcome_and_the_faults_of_clients_are_not(vllm: str) -> None:
    before = await read(f"{vllm}/metrics")
    url = f"{vllm}/v1/completions"
    assert [await post(url, question()) for _ in range(3)] == [200] * 3
    assert [await post(url, question(stream=True)) for _ in range(2)] == [200] * 2
    assert await post(url, question(model="nowhere")) == 404
    assert await post(url, b"{not json") == 400
    assert await post(url, question(max_tokens=-1)) == 400
    assert await post(url, question(prompt="x" * 600)) == 400

    seen = await settled(vllm, lambda now: grown(before.by(*REQUESTS), now.by(*REQUESTS)) != {})
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {("chat", "success", "length"): 5}
    for name in ("llm_request_duration_seconds", "llm_time_to_first_token_seconds", "llm_queue_duration_seconds"):
        assert seen.one(f"{name}_count") - before.one(f"{name}_count") == 5, name
    assert seen.one("llm_inter_token_latency_seconds_count") - before.one("llm_inter_token_latency_seconds_count") == 35
    tokens = grown(before.by("llm_tokens_total", "type"), seen.by("llm_tokens_total", "type"))
    assert tokens == {("output",): 40, ("input",): 25}
    assert (seen.one("llm_requests_running"), seen.one("llm_requests_waiting")) == (0, 0)


async def test_requests_beyond_the_places_wait(vllm: str) -> None:
    before, url = await read(f"{vllm}/metrics"), f"{vllm}/v1/completions"
    asked = [asyncio.create_task(post(url, question(max_tokens=400))) for _ in range(6)]
    waiting = 0.0
    while not waiting:
        seen = await read(f"{vllm}/metrics")
        waiting = seen.one("llm_requests_waiting")
        assert seen.one("llm_requests_running") <= 4
    assert await asyncio.gather(*asked) == [200] * 6
    wanted = {("chat", "success", "length"): 6.0}
    seen = await settled(vllm, lambda now: grown(before.by(*REQUESTS), now.by(*REQUESTS)) == wanted)
    assert (seen.one("llm_requests_running"), seen.one("llm_requests_waiting")) == (0, 0)


async def test_a_stream_that_is_given_up_ends_and_has_no_outcome(vllm: str) -> None:
    before, url = await read(f"{vllm}/metrics"), f"{vllm}/v1/completions"
    count = "llm_time_to_first_token_seconds_count"
    for _ in range(2):
        await hang_up(url, question(max_tokens=500, stream=True), after=b"data:")
    seen = await settled(
        vllm, lambda now: now.one(count) - before.one(count) == 2 and not now.one("llm_requests_running")
    )
    assert await post(url, question()) == 200
    seen = await settled(vllm, lambda now: grown(before.by(*REQUESTS), now.by(*REQUESTS)) != {})
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {("chat", "success", "length"): 1}
    assert seen.one("llm_request_duration_seconds_count") - before.one("llm_request_duration_seconds_count") == 1
    assert 10 <= grown(before.by("llm_tokens_total", "type"), seen.by("llm_tokens_total", "type"))["output",] < 1008


async def test_an_adapters_requests_are_of_the_base_model_and_no_read_loads_one(vllm: str, folder: Path) -> None:
    order = {"lora_name": "v2", "lora_path": f"{folder}/v2"}
    assert await post(f"{vllm}/v1/load_lora_adapter", order) == 200
    assert await post(f"{vllm}/v1/load_lora_adapter", order) == 400
    before = await read(f"{vllm}/metrics")
    assert await post(f"{vllm}/v1/completions", question(model="v2")) == 200
    seen = await settled(vllm, lambda now: grown(before.by(*REQUESTS), now.by(*REQUESTS)) != {})
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {("chat", "success", "length"): 1}

    assert await post(f"{vllm}/v1/unload_lora_adapter", {"lora_name": "v2"}) == 200
    await read(f"{vllm}/metrics")
    assert await post(f"{vllm}/v1/completions", question(model="v2")) == 404
    models = await told(vllm, "/v1/models")
    assert isinstance(models, dict) and [model["id"] for model in models["data"]] == ["chat"]


async def test_a_server_that_sleeps_says_so_and_no_read_wakes_it(vllm: str) -> None:
    states = ("llm_model_state", "served_model", "state")
    assert (await read(f"{vllm}/metrics")).by(*states) == {("chat", "loaded"): 1, ("chat", "sleeping"): 0}
    assert await post(f"{vllm}/sleep?level=1", {}) == 200
    readiness = ReadinessSource(Api.OPENAI, vllm)
    for _ in range(3):
        seen = await read(f"{vllm}/metrics")
        assert (seen.health.health, seen.by(*states)) == ("up", {("chat", "loaded"): 0, ("chat", "sleeping"): 1})
        ready = numbers(await readiness.read(HANG_S))
    await readiness.close()
    assert {key[0]: value for key, value in ready.items()} == {"llm_backend_ready": 1, "llm_engine_ready": 1}
    assert await told(vllm, "/is_sleeping") == {"is_sleeping": True}, "though /health and /v1/models say ready"

    probe = ProbeSource(f"{vllm}/v1/completions", model="chat", timeout_s=3.0)
    assert outcomes(await probe.read(HANG_S)) == {("timeout", "timeout"): 1}
    assert await post(f"{vllm}/wake_up", {}) == 200
    assert await told(vllm, "/is_sleeping") == {"is_sleeping": False}
    assert outcomes(await probe.read(HANG_S))["success", ""] == 1
    await probe.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
async def test_a_probe_asks_it_in_each_protocol(vllm: str, path: str) -> None:
    probe = ProbeSource(vllm + path, model="chat")
    assert outcomes(await probe.read(HANG_S)) == {("success", ""): 1}
    await probe.close()


async def test_the_driver_moves_a_name_between_adapters_and_wakes_the_server(vllm: str, folder: Path) -> None:
    traffic = {"driver": "vllm", "adapters": {v: f"{folder}/{v}" for v in ("v1", "v2")}, "backends": [{"url": vllm}]}
    section = {"name": "answers", "stable": "v1", "versions": {"v1": {}, "v2": {}}, "traffic": traffic}
    driver = build_drivers([ModelSection.model_validate(section)], FakeGateways())["answers"]

    async def seen() -> tuple[str | None, set[str]]:
        (backend,) = (await driver.observe()).backends
        return backend.serving, {v for v, state in backend.versions.items() if state is VersionState.READY}

    await driver.place(vllm, Placement("answers", "v1", (), ""))
    assert await seen() == ("v1", {"v1"})
    await driver.prepare("v2")
    await driver.place(vllm, Placement("answers", "v2", ("v1",), "", 0.0))
    assert await seen() == ("v1", {"v1", "v2"})
    asked = Question("completions", {"prompt": "hi", "max_tokens": 4}, timeout_s=HANG_S)
    assert (await driver.ask(vllm, "v2", asked)).fault == ""
    await driver.place(vllm, Placement("answers", "v2", ("v1",), ""))
    assert await seen() == ("v2", {"v1", "v2"})

    assert await post(f"{vllm}/sleep?level=1", {}) == 200
    assert await seen() == (None, set())
    await driver.place(vllm, Placement("answers", "v2", (), ""))
    assert await seen() == ("v2", {"v2"})
    assert await told(vllm, "/is_sleeping") == {"is_sleeping": False}
    await driver.close()


async def test_this_server_still_has_what_is_read_of_the_capture(vllm: str) -> None:
    assert lost(await fetched(f"{vllm}/metrics"), "vllm-0.32-cpu.prom", "vllm") == {}
