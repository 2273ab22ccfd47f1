"""The pages of the fake engines, by kind: names, labels and buckets as real ones expose them."""

from __future__ import annotations

import numpy as np

from collectors.samples import FloatArray
from controlplane.config.slos import BOUNDS
from controlplane.demo.vllm_metrics import FIRST_TOKEN_SECONDS, REQUEST_SECONDS, TOKEN_SECONDS
from tests.e2e.bad_day.curves import Grid, counted
from tests.e2e.bad_day.pages import Page
from tests.e2e.bad_day.story import INCIDENT_S, Story, failing, median, requests

INPUT_TOKENS, OUTPUT_TOKENS = 620.0, 210.0
"""Mean tokens of a request."""
FLAPPING, FLAP_S = "code-v5-0", 480.0
"""The server whose KV cache fills and empties again and again, and the seconds of a turn."""
REQUEST_BOUNDS, FIRST_TOKEN_BOUNDS, TOKEN_BOUNDS = (REQUEST_SECONDS[:16], FIRST_TOKEN_SECONDS[:16], TOKEN_SECONDS[:16])
"""Bounds of the engines' histograms. None of the fleet's durations is above the last ones that are used."""


def vllm(story: Story, version: str, part: float, grid: Grid, name: str) -> Page:
    """Return the page of a vLLM that gets `part` of its version's requests."""
    labels = {"engine": "0", "model_name": story.name}
    rate, half = requests(story, version, grid) * part, median(story, version, grid) * grid.noise(name, 0.03)
    bad, page = failing(story, version, grid), Page(grid)
    page.family("process_start_time_seconds", "gauge", [({}, np.full(len(rate), grid.start - 3 * 86400.0))])
    _state(page, "vllm:num_requests_running", "vllm:num_requests_waiting", labels, rate, half)
    page.family("vllm:kv_cache_usage_perc", "gauge", [(labels, kv_cache(rate, half, grid, name))])
    page.family("vllm:prefix_cache_queries_total", "counter", [(labels, counted(rate * INPUT_TOKENS))])
    page.family("vllm:prefix_cache_hits_total", "counter", [(labels, counted(rate * INPUT_TOKENS * 0.42))])
    page.family("vllm:num_preemptions_total", "counter", [(labels, counted(rate * 0.001))])
    page.family("vllm:prompt_tokens_total", "counter", [(labels, counted(rate * INPUT_TOKENS))])
    page.family("vllm:generation_tokens_total", "counter", [(labels, counted(rate * OUTPUT_TOKENS))])
    ends = {"stop": 0.82 * (1 - bad), "length": 0.16 * (1 - bad), "abort": 0.02 * (1 - bad), "error": bad}
    page.family(
        "vllm:request_success_total",
        "counter",
        [({**labels, "finished_reason": end}, counted(rate * ends[end])) for end in ends],
    )
    page.histogram("vllm:time_to_first_token_seconds", labels, FIRST_TOKEN_BOUNDS, rate, half * 0.3)
    page.histogram("vllm:inter_token_latency_seconds", labels, TOKEN_BOUNDS, rate * OUTPUT_TOKENS, half / 40)
    page.histogram("vllm:request_time_per_output_token_seconds", labels, TOKEN_BOUNDS, rate, half / 40)
    page.histogram("vllm:e2e_request_latency_seconds", labels, REQUEST_BOUNDS, rate, half)
    page.histogram("vllm:request_queue_time_seconds", labels, REQUEST_BOUNDS, rate, half * 0.05)
    return page.finish()


def sglang(story: Story, version: str, part: float, grid: Grid, name: str) -> Page:
    """Return the page of an SGLang that gets `part` of its version's requests."""
    labels = {"engine_type": "unified", "model_name": story.name, "tp_rank": "0"}
    rate, half = requests(story, version, grid) * part, median(story, version, grid) * grid.noise(name, 0.03)
    page = Page(grid)
    _state(page, "sglang:num_running_reqs", "sglang:num_queue_reqs", labels, rate, half)
    page.family("sglang:token_usage", "gauge", [(labels, kv_cache(rate, half, grid, name))])
    page.family("sglang:prompt_tokens_total", "counter", [(labels, counted(rate * INPUT_TOKENS))])
    page.family("sglang:generation_tokens_total", "counter", [(labels, counted(rate * OUTPUT_TOKENS))])
    page.family("sglang:num_requests_total", "counter", [(labels, counted(rate))])
    page.histogram("sglang:time_to_first_token_seconds", labels, FIRST_TOKEN_BOUNDS, rate, half * 0.3)
    page.histogram("sglang:e2e_request_latency_seconds", labels, REQUEST_BOUNDS, rate, half)
    page.histogram("sglang:inter_token_latency_seconds", labels, TOKEN_BOUNDS, rate * OUTPUT_TOKENS, half / 40)
    return page.finish()


def triton(story: Story, part: float, grid: Grid, name: str) -> Page:
    """Return the page of a Triton that gets `part` of the model's requests. It serves the stable version."""
    version = story.stable
    labels = {"model": "model", "version": version.removeprefix("v")}
    rate, half = requests(story, version, grid) * part, median(story, version, grid) * grid.noise(name, 0.03)
    bad, page = failing(story, version, grid), Page(grid)
    page.family("nv_inference_request_success", "counter", [(labels, counted(rate * (1 - bad)))])
    page.family("nv_inference_request_failure", "counter", [({**labels, "reason": "BACKEND"}, counted(rate * bad))])
    page.family("nv_inference_request_duration_us", "counter", [(labels, counted(rate * half * 1.1e6))])
    page.family("nv_inference_queue_duration_us", "counter", [(labels, counted(rate * half * 0.1e6))])
    page.family("nv_inference_pending_request_count", "gauge", [(labels, np.floor(rate * half * 0.2))])
    quantiles = {"0.5": 1.0, "0.9": 1.7, "0.99": 3.1}
    page.family(
        "nv_inference_request_summary_us",
        "summary",
        [({**labels, "quantile": q}, np.round(half * times * 1e6)) for q, times in quantiles.items()],
    )
    return page.finish()


def gateway(routed: tuple[Story, ...], part: float, grid: Grid, name: str) -> Page:
    """Return the page of a gateway that gets `part` of all requests."""
    page = Page(grid)
    served = [(story, version) for story in routed for version in story.versions]
    rates = {(s.name, v): requests(s, v, grid) * part * grid.noise(name, 0.02) for s, v in served}
    halves = {(s.name, v): median(s, v, grid) * 1.04 for s, v in served}

    def of(story: Story, version: str) -> dict[str, str]:
        return {"source": "gateway", "model": story.name, "version": version}

    counts = []
    for story, version in served:
        bad, rate = failing(story, version, grid), rates[story.name, version]
        ends = {"success": 1 - 1.4 * bad, "error": bad, "timeout": 0.3 * bad, "cut": 0.1 * bad}
        labels = {**of(story, version), "backend": f"http://{story.name}-{version}:8000"}
        counts += [({**labels, "outcome": end}, counted(rate * ends[end])) for end in ends]
    page.family("llm_requests_total", "counter", counts)
    for metric, bounds, times in (
        ("llm_request_duration_seconds", BOUNDS["e2e"], 1.0),
        ("llm_time_to_first_token_seconds", BOUNDS["ttft"], 0.3),
        ("llm_queue_duration_seconds", BOUNDS["ttft"], 0.02),
        ("llm_inter_token_latency_seconds", TOKEN_BOUNDS, 0.025),
    ):
        page.family(metric, "histogram", [])
        for story, version in served:
            key = story.name, version
            page.cells(metric, of(story, version), bounds, rates[key], halves[key] * times)
    page.family(
        "llm_tokens_total",
        "counter",
        [
            ({**of(s, v), "type": kind}, counted(rates[s.name, v] * tokens))
            for s, v in served
            for kind, tokens in (("input", INPUT_TOKENS), ("output", OUTPUT_TOKENS), ("input_cached", 240.0))
        ],
    )
    open_ones: list[tuple[dict[str, str], FloatArray]] = [
        (of(s, v), np.floor(rates[s.name, v] * halves[s.name, v] + 0.5)) for s, v in served
    ]
    page.family("llm_requests_running", "gauge", open_ones)
    queue: FloatArray = np.floor(6.0 * grid.bump(*INCIDENT_S, slope_s=900.0))
    page.family("llm_requests_waiting", "gauge", [({"source": "gateway", "model": s.name}, queue) for s in routed])
    page.family("controlplane_gateway_connections", "gauge", [({}, np.full(len(grid.times), 180.0))])
    return page.finish()


def kv_cache(rate: FloatArray, half: FloatArray, grid: Grid, name: str) -> FloatArray:
    """Return the used share of a KV cache, 0 to 1, [points]."""
    open_ones: FloatArray = rate * half
    used = 0.12 + 0.6 * open_ones / (open_ones + 4.0)
    if name == FLAPPING:
        used = used + 0.6 * ((grid.times - grid.start) % FLAP_S < 0.75 * FLAP_S)
    return np.clip(used * grid.noise(f"{name} cache", 0.1), 0.0, 0.97)


def _state(page: Page, running: str, waiting: str, labels: dict[str, str], rate: FloatArray, half: FloatArray) -> None:
    page.family(running, "gauge", [(labels, np.round(rate * half * 1.1))])
    page.family(waiting, "gauge", [(labels, np.floor(rate * half * 0.15))])
