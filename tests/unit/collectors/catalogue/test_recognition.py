"""Whose metrics an exposition holds, and what is said of a target that holds none of its engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.catalogue.mapping import canonical_layout, lack
from collectors.catalogue.model import load_catalogue
from collectors.catalogue.recognition import Recognised, instead, recognised, recognition
from collectors.exposition.parser import parse
from collectors.target import Lack, Target

CATALOGUE = load_catalogue()
FIXTURES = Path(__file__).parents[3] / "fixtures"


def names_of(path: Path) -> set[str]:
    return {series.name for series in parse(path.read_bytes()).series}


@pytest.mark.parametrize(
    ("file", "engine"),
    [
        ("captures/llamacpp-b10434.prom", "llamacpp"),
        ("captures/sglang-0.5.23-cpu.prom", "sglang"),
        ("captures/triton-2.51-cache-seq-stream.prom", "triton"),
        ("captures/vllm-0.32-cpu.prom", "vllm"),
        ("dcgm-handwritten.prom", "dcgm"),
        ("amd-handwritten.prom", "amd"),
        ("envoy-ai-gateway-handwritten.prom", "envoy-ai-gateway"),
        ("gaudi-handwritten.prom", "gaudi"),
        ("field/dcgm-1x-names.prom", "dcgm"),
        ("field/ray-vllm.prom", "vllm"),
        ("field/sglang-dp-attention.prom", "sglang"),
        ("field/triton-ensemble.prom", "triton"),
        ("field/triton-trtllm.prom", "triton"),
        ("field/trtllm-1.2-unprefixed.prom", "trtllm"),
        ("field/trtllm-1.3.prom", "trtllm"),
        ("tfserving-handwritten.prom", "tfserving"),
        ("captures/ray-serve-2.60.prom", "ray"),
        ("captures/kserve-0.21.prom", "kserve"),
        ("captures/litellm-1.108.prom", "litellm"),
        ("captures/sglang-router-0.3.2.prom", "sglang-router"),
        ("captures/vllm-router-0.1.17.prom", "vllm-router"),
    ],
)
def test_each_capture_is_recognised(file: str, engine: str) -> None:
    assert recognised(names_of(FIXTURES / file), CATALOGUE) == Recognised(engine=engine)


def test_triton_with_its_vllm_backend_is_triton() -> None:
    of_vllm = {"vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:time_to_first_token_seconds_bucket"}
    assert recognised(of_vllm | {"nv_inference_request_success"}, CATALOGUE) == Recognised(engine="triton")


def test_triton_is_triton_however_much_its_backend_exposes() -> None:
    both = names_of(FIXTURES / "captures/vllm-0.32-cpu.prom") | {"nv_inference_request_success"}
    assert recognised(both, CATALOGUE) == Recognised(engine="triton", others=("vllm",))
    assert recognised(both - {"nv_inference_request_success"}, CATALOGUE) == Recognised(engine="vllm")


@pytest.mark.parametrize(
    ("names", "engine"),
    [
        (("request_success_total", "e2e_request_latency_seconds_bucket"), ""),
        (("request_success_total", "e2e_request_latency_seconds_bucket", "num_requests_running"), "trtllm"),
        (("trtllm_request_success_total",), "trtllm"),
        (("llm_requests_total", "llm_tokens_total"), ""),
        (("llm_requests_total", "controlplane_gateway_connections"), "gateway"),
        (("gpu_temperature_celsius",), ""),
        (("gpu_temperature_celsius", "gpu_up"), "nvml"),
    ],
)
def test_names_that_any_program_may_have_tell_nothing_alone(names: tuple[str, ...], engine: str) -> None:
    assert recognised(names, CATALOGUE).engine == engine


@pytest.mark.parametrize(
    ("names", "known", "engine", "words"),
    [
        ((), "auto", "auto", "exposes no metrics of an engine yet"),
        ((), "vllm", "vllm", "was recognised as vllm, and now exposes none of its metrics: correct the address"),
        (
            ("zebra_total",),
            "auto",
            "custom",
            "has metrics such as zebra_total, and of no known engine: raw metrics only. `con",
        ),
        (("zebra_total",), "vllm", "vllm", "was recognised as vllm, and now answers with metrics such as zebra_total:"),
        ((), "custom", "custom", "exposes no metrics of an engine yet"),
        (("controlplane_targets",), "auto", "custom", "has metrics of a control plane such as this one, and"),
        (("vllm:num_requests_running",), "custom", "vllm", ""),
        (("vllm:num_requests_running",), "triton", "vllm", ""),
    ],
)
def test_what_is_known_stays_until_another_engine_is_seen(
    names: tuple[str, ...], known: str, engine: str, words: str
) -> None:
    found = recognition(names, CATALOGUE, known)
    assert found.engine == engine
    assert found.remark.startswith(words)
    assert bool(found.remark) == bool(words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "answers with an empty body, without the metrics of vllm: check engine: and path:"),
        (
            ("DCGM_FI_DEV_GPU_TEMP", "go_goroutines"),
            "answers with metrics of dcgm, not of vllm: correct engine: or the address",
        ),
        (("node_load1", "go_goroutines"), "answers with metrics of node_exporter, not of vllm: correct the address"),
        (
            ("vllm:num_preemptions_total",),
            "answers with few metrics of vllm, and none that is expected: its version may be too old or too new",
        ),
        (
            ("process_cpu_seconds_total", "python_info"),
            "answers with metrics of its process only: check whether vllm's statistics are off, engine: and path:",
        ),
        (
            ("zebra_total", "myapp_jobs", "go_goroutines"),
            "answers with metrics such as myapp_jobs, and none of vllm: check engine: and path:",
        ),
    ],
)
def test_what_a_blind_target_exposes_is_said_with_what_to_check(names: tuple[str, ...], words: str) -> None:
    assert instead(names, CATALOGUE, "vllm") == words


def test_a_target_is_blind_only_without_everything_that_is_expected() -> None:
    def lacks(body: str, engine: str) -> Lack:
        parsed = parse(body.encode())
        target = Target(engine, "http://a:1/metrics", engine, "a:1")
        return lack(canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE), CATALOGUE, engine)

    whole = (FIXTURES / "captures/vllm-0.32-cpu.prom").read_text()
    expected = CATALOGUE.expected("vllm")
    assert lacks(whole, "vllm") == Lack(expected=expected)
    assert lacks("vllm:num_requests_running 1\n", "vllm") == Lack(
        tuple(name for name in expected if name != "llm_requests_running"), expected=expected
    )
    assert lacks("up 1\n", "vllm") == Lack(
        expected, "answers with metrics such as up, and none of vllm: check engine: and path:", expected
    )
    assert lacks("up 1\n", "custom") == Lack(), "nothing is expected of an engine that the catalogue does not know"
