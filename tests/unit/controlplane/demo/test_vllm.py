from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from controlplane.demo.faults import DemoFault
from controlplane.demo.vllm import DECODE_TOKEN_S, PREFILL_S, PREFILL_TOKEN_S, SLOTS, VllmSimulator
from tests.patience import until

HELLO = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
WORDS = 8 + len("hello")
PROMPT_TOKENS = 1 + 4


class Engine:
    """A simulator on a virtual clock, behind a real socket."""

    def __init__(self, version: str, time_: Any, serve: Any) -> None:
        self.active: set[DemoFault] = set()
        self.simulator = VllmSimulator(version, lambda: frozenset(self.active), clock=time_.clock, sleep=time_.sleep)
        self._serve, self.url = serve, ""

    async def post(self, body: Any) -> tuple[int, str]:
        self.url = self.url or await self._serve(self.simulator.app())
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + "/v1/chat/completions", json=body) as response,
        ):
            return response.status, await response.text()

    def value(self, name: str, **labels: str) -> float | None:
        if not name.startswith("http"):
            name, labels = f"vllm:{name}", {"engine": "0", "model_name": "chat", **labels}
        value: float | None = self.simulator.metrics.registry.get_sample_value(name, labels)
        return value


@pytest.fixture
def v1(time_: Any, serve: Any) -> Engine:
    return Engine("v1", time_, serve)


@pytest.fixture
def v2(time_: Any, serve: Any) -> Engine:
    return Engine("v2", time_, serve)


async def test_one_answer_moves_every_metric_by_exactly_what_was_served(v1: Engine) -> None:
    status, text = await v1.post(HELLO)
    body = json.loads(text)
    assert status == 200
    assert body["choices"][0]["message"]["content"].startswith("v1: the fleet")
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": WORDS,
        "total_tokens": PROMPT_TOKENS + WORDS,
    }
    prefill = PREFILL_S + PREFILL_TOKEN_S * PROMPT_TOKENS
    decode = DECODE_TOKEN_S * (WORDS - 1)
    assert v1.value("request_success_total", finished_reason="stop") == 1
    assert v1.value("prompt_tokens_total") == PROMPT_TOKENS
    assert v1.value("generation_tokens_total") == WORDS
    assert v1.value("time_to_first_token_seconds_sum") == pytest.approx(prefill)
    assert v1.value("e2e_request_latency_seconds_sum") == pytest.approx(prefill + decode)
    assert v1.value("inter_token_latency_seconds_count") == WORDS - 1
    assert v1.value("request_time_per_output_token_seconds_sum") == pytest.approx(DECODE_TOKEN_S)
    assert v1.value("request_queue_time_seconds_sum") == 0
    assert v1.value("num_requests_running") == 0
    assert v1.value("kv_cache_usage_perc") == 0
    handler = {"handler": "/v1/chat/completions", "method": "POST"}
    assert v1.value("http_requests_total", status="2xx", **handler) == 1


async def test_a_stream_ends_with_its_finish_reason_usage_and_done(v1: Engine) -> None:
    _, text = await v1.post({**HELLO, "stream": True, "max_tokens": 3, "stream_options": {"include_usage": True}})
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(e) for e in events[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "v1: the fleet"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert v1.value("request_success_total", finished_reason="length") == 1


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "messages"),
        ({**HELLO, "max_tokens": 0}, 400, "max_tokens"),
        ({**HELLO, "n": 3}, 400, "one answer"),
        ({**HELLO, "model": "other"}, 404, "`other` does not exist"),
    ],
)
async def test_a_bad_request_is_4xx_and_never_reaches_the_engine(v1: Engine, body: Any, status: int, says: str) -> None:
    answered, text = await v1.post(body)
    assert answered == status
    assert says in json.loads(text)["error"]["message"]
    assert v1.value("time_to_first_token_seconds_count") == 0
    assert v1.value("http_requests_total", handler="/v1/chat/completions", method="POST", status="4xx") == 1


async def test_slow_v2_adds_four_seconds_to_version_2_only(v1: Engine, v2: Engine) -> None:
    v1.active.add(DemoFault.SLOW_V2)
    v2.active.add(DemoFault.SLOW_V2)
    await v1.post(HELLO)
    await v2.post(HELLO)
    prefill = PREFILL_S + PREFILL_TOKEN_S * PROMPT_TOKENS
    assert v1.value("time_to_first_token_seconds_sum") == pytest.approx(prefill)
    assert v2.value("time_to_first_token_seconds_sum") == pytest.approx(prefill + 4)
    assert v2.value("e2e_request_latency_seconds_bucket", le="2.5") == 0
    assert v2.value("e2e_request_latency_seconds_bucket", le="5.0") == 1


async def test_errors_fail_every_second_request_and_are_counted_as_the_engine_s(v2: Engine) -> None:
    v2.active.add(DemoFault.ERRORS_V2)
    assert [(await v2.post(HELLO))[0] for _ in range(4)] == [500, 200, 500, 200]
    assert v2.value("request_success_total", finished_reason="error") == 2
    assert v2.value("http_requests_total", handler="/v1/chat/completions", method="POST", status="5xx") == 2


async def test_down_v2_drops_connections_until_it_is_cleared(v2: Engine) -> None:
    v2.active.add(DemoFault.DOWN_V2)
    with pytest.raises(aiohttp.ClientError):
        await v2.post(HELLO)
    v2.active.clear()
    assert (await v2.post(HELLO))[0] == 200


async def test_requests_beyond_the_batch_wait_and_are_counted_as_waiting(serve: Any, time_: Any) -> None:
    gate = asyncio.Event()

    async def hold(_: float) -> None:
        await gate.wait()

    engine = Engine("v1", time_, serve)
    engine.simulator = VllmSimulator("v1", frozenset, clock=time_.clock, sleep=hold)
    engine.url = await serve(engine.simulator.app())
    requests = [asyncio.create_task(engine.post(HELLO)) for _ in range(SLOTS + 2)]
    await until(lambda: engine.value("num_requests_waiting") == 2)
    assert engine.value("num_requests_running") == SLOTS
    assert engine.value("num_requests_waiting_by_reason", reason="capacity") == 2
    assert engine.simulator.busy == 1.0
    time_.now += 5
    gate.set()
    assert [status for status, _ in await asyncio.gather(*requests)] == [200] * (SLOTS + 2)
    assert engine.value("request_queue_time_seconds_sum") == 10.0
    assert engine.value("num_requests_waiting") == 0


async def test_a_client_that_leaves_is_in_no_counter_but_ttft(serve: Any, time_: Any) -> None:
    first_token = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == DECODE_TOKEN_S:
            first_token.set()
            await asyncio.Event().wait()

    engine = Engine("v1", time_, serve)
    engine.simulator = VllmSimulator("v1", frozenset, clock=time_.clock, sleep=sleep)
    engine.url = await serve(engine.simulator.app())
    request = asyncio.create_task(engine.post(HELLO))
    await first_token.wait()
    request.cancel()
    await until(lambda: engine.value("num_requests_running") == 0)
    assert engine.value("time_to_first_token_seconds_count") == 1
    assert engine.value("e2e_request_latency_seconds_count") == 0
    assert sum(engine.value("request_success_total", finished_reason=r) or 0 for r in ("stop", "length", "abort")) == 0
    assert engine.value("kv_cache_usage_perc") == 0


async def test_a_repeated_prompt_hits_the_prefix_cache_in_whole_blocks(v1: Engine) -> None:
    long = {"model": "chat", "messages": [{"role": "user", "content": "word " * 40}]}
    await v1.post(long)
    assert v1.value("prefix_cache_hits_total") == 0
    await v1.post(long)
    assert v1.value("prefix_cache_queries_total") == 88
    assert v1.value("prefix_cache_hits_total") == 32


async def test_it_says_that_it_is_simulated(v1: Engine, serve: Any) -> None:
    url = await serve(v1.simulator.app())
    async with aiohttp.ClientSession() as session:
        async with session.get(url + "/v1/models") as response:
            assert (await response.json())["data"][0]["owned_by"] == "simulated"
        async with session.get(url + "/version") as response:
            assert (await response.json()) == {"version": "0.32.0+simulated"}
        async with session.get(url + "/health") as response:
            assert response.status == 200
        async with session.get(url + "/metrics") as response:
            assert response.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
