"""Bodies of servers in the field that came out wrong: what the canonical series say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.catalogue.mapping import missing
from tests.unit.collectors.catalogue.test_mapping import CATALOGUE, Mapped, target


@pytest.fixture
def field(fixtures: Path) -> Path:
    return fixtures / "field"


def by_rank(mapped: Mapped, name: str) -> dict[str, float]:
    return {dict(labels).get("rank", ""): value for labels, value in mapped.get(name).items()}


def test_data_parallel_ranks_of_sglang_have_numbers_of_their_own(field: Path) -> None:
    mapped = Mapped((field / "sglang-dp-attention.prom").read_bytes(), target("sglang"))
    assert by_rank(mapped, "llm_requests_running") == {"0": 3, "1": 41}
    assert by_rank(mapped, "llm_requests_waiting") == {"0": 0, "1": 120}
    assert by_rank(mapped, "llm_kv_cache_usage_ratio") == {"0": 0.1, "1": 0.99}
    assert mapped.layout.unknown_labels == ()


UUID = "GPU-00000000-0000-0000-0000-00000000000a"


def test_the_name_of_an_exporters_pod_is_not_the_name_of_a_node(field: Path) -> None:
    body = (field / "dcgm-pod-hostname.prom").read_bytes()
    mapped = Mapped(body, target("dcgm", instance="10.0.0.9:9400"))
    assert mapped.one("gpu_temperature_celsius", gpu=UUID, node="10.0.0.9") == 93
    renamed = Mapped(body.replace(b"exporter-x7k2p", b"exporter-cwbcm"), target("dcgm", instance="10.0.0.9:9400"))
    canonical = {view.series for view in mapped.layout.views}
    assert {view.series for view in renamed.layout.views} == canonical
    named = Mapped(body, target("dcgm", {"node": "gpu-a"}, instance="10.0.0.9:9400"))
    assert named.one("gpu_temperature_celsius", gpu=UUID, node="gpu-a") == 93


def test_three_exporters_give_one_gpu_the_same_identity(field: Path) -> None:
    bodies = {"dcgm": "dcgm-pod-hostname", "nvml": "nvml-one-gpu", "triton": "triton-gpu"}
    for engine, body in bodies.items():
        mapped = Mapped((field / f"{body}.prom").read_bytes(), target(engine))
        (labels,) = (dict(labels) for labels in mapped.get("gpu_memory_total_bytes"))
        assert (labels["gpu"], labels["engine"]) == (UUID, engine)


@pytest.mark.parametrize(
    ("hostname", "node"),
    [
        ("nvidia-dcgm-exporter-cwbcm", "10.0.0.5"),
        ("gpu-exporter-7f9c8d7b6d-x7k2p", "10.0.0.5"),
        ("3f2a9c0d1e4b", "10.0.0.5"),
        ("prod-md-0-7f9c8d7b6d-x7k2p", "prod-md-0-7f9c8d7b6d-x7k2p"),
        ("dcgm-exporter-host", "dcgm-exporter-host"),
        ("gpu-a", "gpu-a"),
    ],
)
def test_names_of_pods_and_containers_are_told_from_names_of_machines(hostname: str, node: str) -> None:
    mapped = Mapped(f'DCGM_FI_DEV_GPU_TEMP{{UUID="G",Hostname="{hostname}"}} 50\n'.encode(), target("dcgm"))
    assert mapped.one("gpu_temperature_celsius", node=node) == 50


def test_a_boards_values_are_counted_once_however_many_mig_instances_it_has() -> None:
    lines = (
        f'{name}{{UUID="GPU-1",GPU_I_PROFILE="1g.10gb",GPU_I_ID="{instance}",pod="p{instance}"}} {value}\n'
        for name, value in (("DCGM_FI_DEV_GPU_TEMP", 91), ("DCGM_FI_DEV_POWER_USAGE", 300), ("DCGM_FI_DEV_FB_USED", 5))
        for instance in (7, 8, 9)
    )
    mapped = Mapped("".join(lines).encode(), target("dcgm"))
    assert mapped.one("gpu_temperature_celsius", gpu="GPU-1") == 91
    assert mapped.one("gpu_power_watts", gpu="GPU-1") == 300
    assert len(mapped.get("gpu_temperature_celsius")) == len(mapped.get("gpu_power_watts")) == 1
    memory = {dict(labels)["gpu"] for labels in mapped.get("gpu_memory_used_bytes")}
    assert memory == {"GPU-1/GI7", "GPU-1/GI8", "GPU-1/GI9"}, "each instance has memory of its own"
    assert mapped.layout.unknown_labels == ()


def test_tensor_parallel_ranks_repeat_one_number_which_is_counted_once() -> None:
    body = b"".join(
        b'sglang:%s{model_name="m",tp_rank="%d",dp_rank="0"} 7\n' % (name, rank)
        for name in (b"num_running_reqs", b"num_requests_total")
        for rank in range(4)
    )
    mapped = Mapped(body, target("sglang"))
    assert by_rank(mapped, "llm_requests_running") == {"0": 7}
    assert mapped.one("llm_requests_total") == 7, "also where other labels are added up"


def test_series_that_differ_in_a_label_without_a_canonical_name_are_kept_apart_and_told() -> None:
    body = b"".join(
        b'vllm:%s{model_name="m",replica="%s"} %d\n' % (name, replica, value)
        for name in (b"num_requests_waiting", b"e2e_request_latency_seconds_count", b"e2e_request_latency_seconds_sum")
        for replica, value in ((b"r1", 3), (b"r2", 4))
    )
    mapped = Mapped(body, target("vllm"))
    assert mapped.one("llm_requests_waiting", replica="r1") == 3
    assert mapped.one("llm_requests_waiting", replica="r2") == 4
    assert mapped.one("llm_request_duration_seconds_sum", replica="r2") == 4
    assert mapped.layout.unknown_labels == ("llm_request_duration_seconds: replica", "llm_requests_waiting: replica")


def test_a_label_without_a_canonical_name_that_tells_nothing_apart_is_left_out() -> None:
    mapped = Mapped(b'vllm:num_requests_waiting{model_name="m",replica="r1"} 3\n', target("vllm"))
    assert mapped.one("llm_requests_waiting") == 3
    assert mapped.get("llm_requests_waiting", replica="r1") == {}
    assert mapped.layout.unknown_labels == ()


def test_an_unknown_label_with_a_canonical_name_is_kept_as_exported() -> None:
    body = b'sglang:num_queue_reqs{node="a",model_name="m"} 1\nsglang:num_queue_reqs{node="b",model_name="m"} 2\n'
    mapped = Mapped(body, target("sglang", {"node": "gpu7"}))
    found = {dict(labels)["exported_node"]: value for labels, value in mapped.get("llm_requests_waiting").items()}
    assert found == {"a": 1, "b": 2}
    assert {dict(labels)["node"] for labels in mapped.get("llm_requests_waiting")} == {"gpu7"}


def test_trtllm_counts_what_the_client_did_neither_as_success_nor_as_the_engines_error(field: Path) -> None:
    mapped = Mapped((field / "trtllm-1.3.prom").read_bytes(), target("trtllm"))
    found = {
        (dict(labels)["outcome"], dict(labels)["reason"]): value
        for labels, value in mapped.get("llm_requests_total").items()
    }
    assert found == {
        ("success", "stop"): 150,
        ("success", "length"): 25,
        ("aborted", "cancelled"): 3,
        ("error", "500"): 4,
        ("invalid", "400"): 40,
    }


def test_a_timeout_of_trtllm_is_a_timeout() -> None:
    mapped = Mapped(b'trtllm_request_success_total{finished_reason="timeout"} 2\n', target("trtllm"))
    assert mapped.one("llm_requests_total", outcome="timeout", reason="timeout") == 2


def test_tritons_tensorrt_llm_backend_says_what_waits_and_runs_and_how_full_its_cache_is(field: Path) -> None:
    mapped = Mapped((field / "triton-trtllm.prom").read_bytes(), target("triton"))
    assert mapped.one("llm_requests_waiting", model="tensorrt_llm") == 14
    assert mapped.one("llm_requests_waiting", model="ensemble") == 0
    assert mapped.one("llm_requests_running") == 8
    assert mapped.one("llm_kv_cache_usage_ratio") == 0.97
    assert mapped.layout.unknown_labels == ()


def test_a_failure_of_an_ensemble_which_triton_counts_twice_is_one_error(field: Path) -> None:
    mapped = Mapped((field / "triton-ensemble.prom").read_bytes(), target("triton"))
    assert mapped.one("llm_requests_total", model="ens", outcome="error", reason="OTHER") == 7
    assert mapped.one("llm_requests_total", model="ens", outcome="success") == 10
    assert mapped.one("llm_requests_total", model="llm", outcome="error", reason="BACKEND") == 3


def test_failures_without_a_reason_are_errors(field: Path) -> None:
    mapped = Mapped((field / "triton-failure-without-reason.prom").read_bytes(), target("triton"))
    assert mapped.one("llm_requests_total", outcome="error") == 10
    assert mapped.one("llm_requests_total", outcome="success") == 90


def test_the_unit_of_vllms_prefix_cache_is_what_its_help_says(field: Path, fixtures: Path) -> None:
    older = Mapped((field / "vllm-0.8.prom").read_bytes(), target("vllm"))
    assert older.one("llm_prefix_cache_queries_total", unit="block") == 400
    assert older.one("llm_prefix_cache_hits_total", unit="block") == 100
    newer = Mapped((fixtures / "vllm-0.32-llm.prom").read_bytes(), target("vllm"))
    assert newer.get("llm_prefix_cache_queries_total", unit="block") == {}


def test_names_of_old_dcgm_exporters(field: Path) -> None:
    mapped = Mapped((field / "dcgm-1x-names.prom").read_bytes(), target("dcgm"))
    gpu = "GPU-00000000-0000-0000-0000-00000000000b"
    assert mapped.one("gpu_temperature_celsius", gpu=gpu) == 91
    assert mapped.one("gpu_memory_total_bytes", gpu=gpu) > mapped.one("gpu_memory_used_bytes", gpu=gpu)
    assert missing(mapped.layout, CATALOGUE, "dcgm") == ()


def test_vllm_under_ray_has_its_numbers_by_worker(field: Path) -> None:
    mapped = Mapped((field / "ray-vllm.prom").read_bytes(), target("vllm"))
    assert by_rank(mapped, "llm_requests_running") == {"w0": 4, "w1": 6}
    assert by_rank(mapped, "llm_kv_cache_usage_ratio") == {"w0": 5.882698982295764e-05, "w1": 0.5}
    assert {dict(labels)["model"] for labels in mapped.get("llm_requests_waiting")} == {"llama"}


def test_trtllm_before_its_names_had_a_prefix(field: Path) -> None:
    mapped = Mapped((field / "trtllm-1.2-unprefixed.prom").read_bytes(), target("trtllm"))
    assert mapped.one("llm_requests_total", outcome="success") == 2
    assert mapped.one("llm_request_duration_seconds_sum") == 3.4878239994868636
    assert mapped.one("llm_time_to_first_token_seconds_bucket", le="0.3") == 1
    assert missing(mapped.layout, CATALOGUE, "trtllm") == ()
