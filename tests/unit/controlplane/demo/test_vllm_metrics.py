from __future__ import annotations

from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from controlplane.demo.vllm_metrics import VllmMetrics


def families(text: str) -> dict[str, Metric]:
    return {f.name: f for f in text_string_to_metric_families(text) if not f.name.endswith("_created")}


def shape(family: Metric) -> tuple[str, set[frozenset[str]], list[str]]:
    """Type, label names by sample, and bucket bounds of one child."""
    labels = {frozenset(s.labels) for s in family.samples if not s.name.endswith("_created")}
    first = {k: v for k, v in family.samples[0].labels.items() if k != "le"}
    bounds = [
        s.labels["le"]
        for s in family.samples
        if s.name.endswith("_bucket") and {k: v for k, v in s.labels.items() if k != "le"} == first
    ]
    return family.type, labels, bounds


def test_every_family_has_the_type_labels_and_buckets_of_the_real_capture(fixtures: Path) -> None:
    metrics = VllmMetrics("chat")
    metrics.observe_http("/v1/chat/completions", "POST", 200, 0.2)
    metrics.observe_http("/v1/chat/completions", "POST", 404, 0.01)
    simulated = families(metrics.exposition().decode())
    real = families((fixtures / "vllm-0.32-llm.prom").read_text())
    assert set(simulated) <= set(real)
    assert {name: shape(f) for name, f in simulated.items()} == {name: shape(real[name]) for name in simulated}


def test_the_families_that_canonical_metrics_come_from_are_all_there() -> None:
    names = set(families(VllmMetrics("chat").exposition().decode()))
    assert names >= {
        f"vllm:{name}"
        for name in (
            "num_requests_running",
            "num_requests_waiting",
            "kv_cache_usage_perc",
            "request_success",
            "prompt_tokens",
            "generation_tokens",
            "prefix_cache_queries",
            "prefix_cache_hits",
            "num_preemptions",
            "time_to_first_token_seconds",
            "inter_token_latency_seconds",
            "request_time_per_output_token_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
        )
    }


def test_label_values_of_children_that_exist_from_the_start_are_the_capture_s(fixtures: Path) -> None:
    simulated = families(VllmMetrics("chat").exposition().decode())
    real = families((fixtures / "vllm-0.32-llm.prom").read_text())
    for name, label in (
        ("vllm:request_success", "finished_reason"),
        ("vllm:engine_sleep_state", "sleep_state"),
        ("vllm:num_requests_waiting_by_reason", "reason"),
        ("vllm:num_requests_running", "engine"),
    ):
        values = [{s.labels[label] for s in f[name].samples} for f in (simulated, real)]
        assert values[0] == values[1], name
