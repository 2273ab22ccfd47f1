"""A real LiteLLM proxy before a real llama-server, read with its engine recognised. `make test-engines` installs it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator

import pytest

from collectors.target import Auth
from tests.contract.real_servers import llama_server, running
from tests.engines.environments import START_S, needs, program
from tests.engines.reading import Reading, fetched, grown, lost, read
from tests.engines.traffic import hang_up, post
from tests.patience import HANG_S
from tests.ports import free_address

pytestmark = [*needs("litellm", "LiteLLM"), pytest.mark.needs("llama-server")]

KEY = {"authorization": "Bearer sk-master"}
AUTH = Auth(inline="sk-master")
REQUESTS = ("llm_requests_total", "model", "outcome", "reason")
TOKENS = ("llm_tokens_total", "model", "type")


@pytest.fixture(scope="module")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One proxy for all tests, because it imports for a minute: they tell by how much the numbers grew."""
    folder = tmp_path_factory.mktemp("litellm")
    address = free_address()
    host, port = address.split(":")
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with llama_server(folder) as llama:
        addresses = {"chat": f"{llama.url}/v1", "dead": f"http://{free_address()}/v1"}
        config = {
            "model_list": [
                {"model_name": name, "litellm_params": {"model": "openai/tiny", "api_base": url, "api_key": "none"}}
                for name, url in addresses.items()
            ],
            "router_settings": {"num_retries": 0},
            "litellm_settings": {"callbacks": ["prometheus"], "telemetry": False},
            "general_settings": {"master_key": "sk-master"},
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        command = [str(program("litellm", "litellm")), "--config", f"{folder}/config.yaml", "--num_workers", "1"]
        ready = f"http://{address}/health/liveliness"
        with running([*command, "--host", host, "--port", port], folder, ready, environment, within_s=START_S):
            yield f"http://{address}"


def question(**more: object) -> dict[str, object]:
    return {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, **more}


async def counted(url: str, before: Reading, requests: int) -> Reading:
    """Return the first reading with so many requests more: LiteLLM counts a request after its answer."""
    async with asyncio.timeout(HANG_S):
        while True:
            seen = await read(f"{url}/metrics", AUTH)
            if sum(grown(before.by(*REQUESTS), seen.by(*REQUESTS)).values()) >= requests:
                return seen
            await asyncio.sleep(0.1)


async def test_a_proxy_without_a_request_is_recognised_and_blind(litellm: str) -> None:
    seen = await read(f"{litellm}/metrics", AUTH)
    assert (seen.health.health, seen.health.engine) == ("up", "litellm"), "after a redirect to /metrics/"
    assert seen.health.missing == ("llm_requests_total", "llm_request_duration_seconds", "llm_tokens_total")
    assert seen.metrics == {"llm_requests_running"}
    assert seen.one("llm_requests_running") == 1, "the scrape itself"


async def test_answers_of_the_engine_behind_it_are_counted_by_outcome(litellm: str) -> None:
    before, url = await read(f"{litellm}/metrics", AUTH), f"{litellm}/v1/chat/completions"
    assert [await post(url, question(), KEY) for _ in range(3)] == [200] * 3
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    assert [await post(url, question(**usage), KEY) for _ in range(2)] == [200] * 2
    assert await post(url, question(model="nowhere"), KEY) == 400
    assert await post(url, b"{not json", KEY) == 400
    assert await post(url, question(temperature="hot"), KEY) == 400
    assert await post(url, question(model="dead"), KEY) == 500

    seen = await counted(litellm, before, 9)
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {
        ("chat", "success", "200"): 5,
        ("chat", "invalid", "400"): 1,
        ("other", "invalid", "400"): 1,
        ("", "invalid", "400"): 1,
        ("dead", "error", "500"): 1,
    }
    assert (seen.health.missing, seen.health.unknown_labels) == ((), ())
    assert seen.by("llm_request_duration_seconds_count", "model", "source") == {("chat", "proxy"): 5}
    assert seen.by("llm_queue_duration_seconds_count", "model") == {("chat",): 5}
    assert seen.by("llm_time_to_first_token_seconds_count", "model") == {("chat",): 2}
    tokens = grown(before.by(*TOKENS), seen.by(*TOKENS))
    assert tokens == {("chat", "input"): 100, ("chat", "output"): 40, ("chat", "input_cached"): 76}


async def test_a_request_without_a_key_is_the_callers_fault(litellm: str) -> None:
    before, url = await read(f"{litellm}/metrics", AUTH), f"{litellm}/v1/chat/completions"
    assert await post(url, question()) == 500, "LiteLLM's own words for it, without a database"
    assert await post(url, question(), {"authorization": "Bearer sk-wrong"}) == 400
    seen = await counted(litellm, before, 2)
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {
        ("chat", "invalid", "no_key"): 1,
        ("chat", "invalid", "400"): 1,
    }


async def test_a_scrape_without_the_key_is_down_and_no_error_of_the_proxy(litellm: str) -> None:
    before = await read(f"{litellm}/metrics", AUTH)
    for auth in (None, Auth(inline="sk-wrong")):
        refused = await read(f"{litellm}/metrics", auth)
        assert (refused.health.health, refused.values) == ("down", {})
        assert refused.health.last_error == "answered 401 Unauthorized, expected 200"
    seen = await counted(litellm, before, 2)
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {
        ("", "invalid", "no_key"): 1,
        ("", "invalid", "400"): 1,
    }


async def test_a_client_that_hangs_up_is_a_success_with_the_tokens_so_far(litellm: str) -> None:
    before, url = await read(f"{litellm}/metrics", AUTH), f"{litellm}/v1/chat/completions"
    await hang_up(url, question(max_tokens=5000, stream=True), KEY, after=b"data:")
    seen = await counted(litellm, before, 1)
    assert grown(before.by(*REQUESTS), seen.by(*REQUESTS)) == {("chat", "success", "200"): 1}
    assert 0 < grown(before.by(*TOKENS), seen.by(*TOKENS))["chat", "output"] < 5000


async def test_this_server_still_has_what_is_read_of_the_capture(litellm: str) -> None:
    assert lost(await fetched(f"{litellm}/metrics", KEY), "litellm-1.108.prom", "litellm") == {}
