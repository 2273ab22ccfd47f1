"""Servers and proxies that are no LLM engines: captures get canonical names, with the numbers that they reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.collectors.catalogue.test_mapping import Mapped, target

STANDING = {"engine", "instance", "node", "source", "served_model", "model"}


def mapped(fixtures: Path, engine: str, file: str) -> Mapped:
    return Mapped((fixtures / file).read_bytes(), target(engine))


def requests(found: Mapped) -> dict[tuple[str, ...], float]:
    """Model, outcome and reason (or backend) to the number of requests."""
    return {
        tuple(dict(labels).get(name, "") for name in ("model", "outcome", "reason", "backend")): value
        for labels, value in found.get("llm_requests_total").items()
    }


def test_tensorflow_serving_counts_by_status_and_its_microseconds_become_seconds(fixtures: Path) -> None:
    found = mapped(fixtures, "tfserving", "tfserving-handwritten.prom")
    assert requests(found) == {
        ("half_plus_two", "success", "OK", ""): 95,
        ("half_plus_two", "invalid", "INVALID_ARGUMENT", ""): 3,
        ("half_plus_two", "timeout", "DEADLINE_EXCEEDED", ""): 2,
    }
    assert found.one("llm_request_duration_seconds_sum") == pytest.approx(0.25)
    assert found.one("llm_request_duration_seconds_bucket", le="0.001") == 15, "REST and gRPC together"
    assert found.one("llm_queue_duration_seconds_count") == 95


def test_ray_serve_counts_what_its_proxies_answered(fixtures: Path) -> None:
    found = mapped(fixtures, "ray", "captures/ray-serve-2.60.prom")
    assert requests(found) == {
        ("chat", "success", "200", ""): 59,
        ("chat", "rejected", "503", ""): 29,
        ("chat", "error", "500", ""): 3,
        ("chat", "invalid", "404", ""): 1,
    }
    assert found.one("llm_request_duration_seconds_sum") == pytest.approx(142.575)
    assert found.one("llm_request_duration_seconds_count") == 92
    assert found.one("llm_requests_running") == 0
    assert found.one("llm_requests_waiting") == 0


def test_kserve_does_not_tell_errors_from_successes(fixtures: Path) -> None:
    found = mapped(fixtures, "kserve", "captures/kserve-0.21.prom")
    assert requests(found) == {("chat", "unknown", "", ""): 44}
    assert found.one("llm_request_duration_seconds_count") == 44


def test_litellm_adds_up_keys_teams_and_routes_and_keeps_refusals_without_a_model(fixtures: Path) -> None:
    found = mapped(fixtures, "litellm", "captures/litellm-1.108.prom")
    assert requests(found) == {
        ("chat", "success", "200", ""): 46,
        ("chat", "invalid", "400", ""): 2,
        ("other", "invalid", "400", ""): 1,
        ("", "invalid", "400", ""): 1,
        ("dead", "error", "500", ""): 2,
        ("", "invalid", "no_key", ""): 3,
    }, "who has no key gets no status, and is no fault of the proxy"
    assert found.one("llm_tokens_total", type="output") == 1297
    assert found.one("llm_tokens_total", type="input_cached") == 1001
    assert found.one("llm_request_duration_seconds_count") == 46
    assert found.one("llm_time_to_first_token_seconds_count") == 24
    assert {dict(labels)["source"] for labels in found.get("llm_requests_total")} == {"proxy"}


def test_an_exception_of_litellms_own_is_an_error() -> None:
    body = (
        b'litellm_proxy_total_requests_metric_total{hashed_api_key="None",requested_model="m",status_code="None"} 3\n'
        b'litellm_proxy_total_requests_metric_total{hashed_api_key="k",requested_model="m",status_code="None"} 2\n'
        b'litellm_proxy_total_requests_metric_total{hashed_api_key="None",requested_model="m",status_code="200"} 5\n'
    )
    assert requests(Mapped(body, target("litellm"))) == {
        ("m", "invalid", "no_key", ""): 3,
        ("m", "error", "None", ""): 2,
        ("m", "success", "200", ""): 5,
    }


def test_a_vllm_that_sleeps_says_so_at_either_level(fixtures: Path) -> None:
    awake = mapped(fixtures, "vllm", "captures/vllm-0.32-cpu.prom")
    assert awake.one("llm_model_state", model="chat", state="loaded") == 1
    assert awake.one("llm_model_state", model="chat", state="sleeping") == 0
    for level in ("weights_offloaded", "discard_all"):
        body = "".join(
            f'vllm:engine_sleep_state{{engine="0",model_name="chat",sleep_state="{state}"}} {int(state == level)}\n'
            for state in ("awake", "weights_offloaded", "discard_all")
        )
        asleep = Mapped(body.encode(), target("vllm"))
        assert asleep.one("llm_model_state", state="loaded") == 0
        assert asleep.one("llm_model_state", state="sleeping") == 1


def test_sglangs_cache_is_asked_for_each_token_of_a_prompt(fixtures: Path) -> None:
    found = mapped(fixtures, "sglang", "captures/sglang-0.5.23-cpu.prom")
    assert found.one("llm_prefix_cache_queries_total", unit="token") == 1134
    assert found.one("llm_prefix_cache_hits_total", unit="token") == 733
    assert found.one("llm_time_per_output_token_seconds_count") == 44


def test_sglangs_router_counts_answers_of_workers_and_says_which_are_healthy(fixtures: Path) -> None:
    found = mapped(fixtures, "sglang-router", "captures/sglang-router-0.3.2.prom")
    assert requests(found) == {("", "success", "200", ""): 46, ("", "invalid", "400", ""): 1}
    assert found.one("llm_request_duration_seconds_count", model="chat") == 45
    assert found.one("llm_backend_ready", backend="http://127.0.0.1:18354") == 1


def test_vllms_router_counts_by_worker(fixtures: Path) -> None:
    found = mapped(fixtures, "vllm-router", "captures/vllm-router-0.1.17.prom")
    assert requests(found) == {("", "success", "", "http://127.0.0.1:18354"): 47}
    assert found.one("llm_request_duration_seconds_count") == 46
    assert len(found.get("llm_backend_ready")) == 2


@pytest.mark.parametrize(
    ("engine", "file"),
    [
        ("tfserving", "tfserving-handwritten.prom"),
        ("ray", "captures/ray-serve-2.60.prom"),
        ("kserve", "captures/kserve-0.21.prom"),
        ("litellm", "captures/litellm-1.108.prom"),
        ("sglang-router", "captures/sglang-router-0.3.2.prom"),
        ("vllm-router", "captures/vllm-router-0.1.17.prom"),
    ],
)
def test_no_label_is_unknown_and_each_canonical_series_has_the_standing_labels(
    fixtures: Path, engine: str, file: str
) -> None:
    layout = mapped(fixtures, engine, file).layout
    assert layout.unknown_labels == ()
    for view in layout.views:
        labels = dict(view.series.labels)
        assert labels["engine"] == engine
        extra = set(labels) - STANDING - {"job", "outcome", "reason", "backend", "type", "le"}
        assert not extra, view.series


def test_amds_exporter_names_a_gpu_by_its_uuid_and_its_units_become_ours(fixtures: Path) -> None:
    found = mapped(fixtures, "amd", "amd-handwritten.prom")
    gpu = {"gpu": "ccff74a1-0000-1000-80e0-c6d49f5b0d80", "node": "tw038"}
    assert found.one("gpu_utilization_ratio", **gpu) == pytest.approx(0.37)
    assert found.one("gpu_memory_used_bytes", **gpu) == 150000 * 2**20
    assert found.one("gpu_memory_total_bytes", **gpu) == 192 * 2**30 - 16 * 2**20
    assert found.one("gpu_temperature_celsius", **gpu) == 71
    assert found.one("gpu_memory_temperature_celsius", **gpu) == 58
    assert found.one("gpu_power_watts", **gpu) == 612
    assert found.one("gpu_energy_joules_total", **gpu) == pytest.approx(5_100_000)
    assert found.one("gpu_errors_total", type="ecc_corrected", **gpu) == 3
    assert found.one("gpu_errors_total", type="pcie_replay", **gpu) == 2
    assert found.layout.unknown_labels == ()


def test_an_older_amd_exporter_has_the_serial_number_only_and_a_new_one_may_have_a_prefix() -> None:
    old = Mapped(b'gpu_edge_temperature{gpu_id="0",serial_number="692",hostname="n1"} 50\n', target("amd"))
    assert old.one("gpu_temperature_celsius", gpu="692", node="n1") == 50
    prefixed = Mapped(b'amd_gpu_junction_temperature{gpu_uuid="u",serial_number="692"} 60\n', target("amd"))
    assert prefixed.one("gpu_temperature_celsius", gpu="u") == 60


def test_the_partitions_of_a_gpu_have_the_boards_power_once() -> None:
    body = "".join(
        f'{name}{{gpu_id="{n}",gpu_partition_id="{n}",gpu_uuid="u",serial_number="1"}} {value}\n'
        for n, power in enumerate((700, 0, 0))
        for name, value in (("gpu_package_power", power), ("gpu_used_vram", 10 + n))
    )
    found = Mapped(body.encode(), target("amd"))
    assert found.one("gpu_power_watts") == 700
    assert sorted(found.get("gpu_memory_used_bytes").values()) == [10 * 2**20, 11 * 2**20, 12 * 2**20]


def test_a_pods_name_of_amds_exporter_is_no_node() -> None:
    body = b'gpu_package_power{gpu_uuid="u",hostname="amd-metrics-exporter-x7k2p"} 1\n'
    assert Mapped(body, target("amd")).one("gpu_power_watts", node="10.0.0.5") == 1


def test_gaudis_exporter_gives_milliwatts(fixtures: Path) -> None:
    found = mapped(fixtures, "gaudi", "gaudi-handwritten.prom")
    gpu = {"gpu": "01P0-HL2080A0-15-TNPS34-20-07-00"}
    assert found.one("gpu_power_watts", **gpu) == 431
    assert found.one("gpu_utilization_ratio", **gpu) == pytest.approx(0.92)
    assert found.one("gpu_memory_used_bytes", **gpu) == 93415538688
    assert found.one("gpu_temperature_celsius", **gpu) == 62
    assert found.layout.unknown_labels == ()


def test_envoy_ai_gateway_counts_by_error_type_over_all_providers(fixtures: Path) -> None:
    found = mapped(fixtures, "envoy-ai-gateway", "envoy-ai-gateway-handwritten.prom")
    assert requests(found) == {
        ("chat", "success", "", ""): 98,
        ("chat", "error", "_OTHER", ""): 4,
        ("chat", "rejected", "429", ""): 2,
    }
    assert found.one("llm_request_duration_seconds_count", source="proxy") == 98, "a refusal is no latency"
    assert found.one("llm_request_duration_seconds_sum") == 85.5
    assert found.one("llm_time_to_first_token_seconds_sum") == 25.75
    assert found.one("llm_time_per_output_token_seconds_sum") == 1.8
    tokens = {dict(labels)["type"]: value for labels, value in found.get("llm_tokens_total").items()}
    assert tokens == {"input": 30000, "output": 10800, "input_cached": 8000}
    assert found.layout.unknown_labels == ()
