"""The exported recording rules in a real Prometheus give the series that our own scraping gives, on the same bodies."""

from __future__ import annotations

import functools
import http.server
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.catalogue.recording_rules import recording_rules
from collectors.exposition.parser import parse
from collectors.gpu.exporters import without_blanks
from collectors.samples import labels_of
from collectors.target import Target
from tests.fakes.metrics_servers import prometheus
from tests.fakes.on_a_thread import serving
from tests.patience import HANG_S

pytestmark = pytest.mark.needs("prometheus")
CATALOGUE = load_catalogue()

Key = tuple[str, tuple[tuple[str, str], ...]]


class Body(NamedTuple):
    """What one target serves, and the labels that its configuration gives it."""

    engine: str
    text: bytes
    labels: Mapping[str, str] = {}


TRITON_MORE = b"""\
# Written by hand from Triton's documentation: a histogram in milliseconds, GPUs, and Triton's vLLM backend.
nv_inference_first_response_histogram_ms_bucket{model="chat",version="1",le="1"} 1
nv_inference_first_response_histogram_ms_bucket{model="chat",version="1",le="25"} 2
nv_inference_first_response_histogram_ms_bucket{model="chat",version="1",le="300"} 3
nv_inference_first_response_histogram_ms_bucket{model="chat",version="1",le="2500.5"} 4
nv_inference_first_response_histogram_ms_bucket{model="chat",version="1",le="10000"} 5
nv_inference_first_response_histogram_ms_bucket{model="chat",version="1",le="+Inf"} 6
nv_inference_first_response_histogram_ms_sum{model="chat",version="1"} 12345
nv_inference_first_response_histogram_ms_count{model="chat",version="1"} 6
nv_inference_request_failure{model="chat",reason="REJECTED",version="1"} 1
nv_inference_request_failure{model="chat",reason="CANCELED",version="1"} 2
nv_inference_request_failure{model="chat",reason="BACKEND",version="1"} 3
nv_inference_request_failure{model="chat",reason="OTHER",version="1"} 4
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 1e9
nv_energy_consumption{gpu_uuid="GPU-1"} 17.25
vllm:e2e_request_latency_seconds_bucket{model="chat",version="1",le="0.5"} 3
vllm:e2e_request_latency_seconds_bucket{model="chat",version="1",le="+Inf"} 4
vllm:e2e_request_latency_seconds_sum{model="chat",version="1"} 2.5
vllm:e2e_request_latency_seconds_count{model="chat",version="1"} 4
vllm:prompt_tokens_total{model="chat",version="1"} 400
"""
SGLANG = b"""\
# Written by hand from SGLang's documentation.
sglang:num_requests_total{model_name="m",tp_rank="0"} 5
sglang:num_requests_total{model_name="m",tp_rank="1"} 5
sglang:num_running_reqs{model_name="m",tp_rank="0"} 3
sglang:num_running_reqs{model_name="m",tp_rank="1"} 3
sglang:cached_tokens_total{model_name="m",tp_rank="0"} 50
sglang:e2e_request_latency_seconds_bucket{model_name="m",tp_rank="0",le="1.0"} 2
sglang:e2e_request_latency_seconds_bucket{model_name="m",tp_rank="1",le="1.0"} 2
sglang:e2e_request_latency_seconds_bucket{model_name="m",tp_rank="0",le="+Inf"} 4
sglang:e2e_request_latency_seconds_bucket{model_name="m",tp_rank="1",le="+Inf"} 4
sglang:e2e_request_latency_seconds_sum{model_name="m",tp_rank="0"} 1.5
sglang:e2e_request_latency_seconds_count{model_name="m",tp_rank="0"} 4
"""
TRTLLM = b"""\
# Written by hand from TensorRT-LLM's documentation.
trtllm_request_success_total{model_name="m",engine_type="pytorch",finished_reason="stop"} 5
trtllm_request_success_total{model_name="m",engine_type="pytorch",finished_reason="length"} 1
trtllm_request_error_total{model_name="m",http_code="500"} 2
trtllm_kv_cache_reused_blocks_total{model_name="m"} 30
trtllm_kv_cache_missed_blocks_total{model_name="m"} 12
"""
TGI = b"""\
# Written by hand from TGI's documentation; no label names the model.
tgi_request_success{method="batch"} 10
tgi_request_failure{err="overloaded"} 2
tgi_request_failure{err="generation"} 1
tgi_queue_size 4
tgi_request_duration_bucket{le="1"} 3
tgi_request_duration_bucket{le="+Inf"} 10
tgi_request_duration_sum 12.5
tgi_request_duration_count 10
"""
UNEVEN = b"""\
sglang:num_running_reqs{model_name="m",tp_rank="0"} 3
sglang:num_running_reqs{model_name="m",tp_rank="1"} 4
"""
BLOCKS = b"""\
# HELP vllm:gpu_prefix_cache_hits_total GPU prefix cache hits, in terms of number of cached blocks.
# TYPE vllm:gpu_prefix_cache_hits_total counter
vllm:gpu_prefix_cache_hits_total{model_name="m"} 9
"""
LARGE = b"""\
tgi_request_duration_bucket{le="1000000"} 3
tgi_request_duration_bucket{le="+Inf"} 10
"""
VERSIONLESS = b"""\
nv_inference_pending_request_count{model="m"} 2
"""


@pytest.fixture(scope="module")
def bodies(fixtures: Path) -> dict[str, Body]:
    """The targets: captures of real servers, and what they lack, written by hand."""
    real = {name: (fixtures / f"{name}.prom").read_bytes() for name in ("triton-2.51-llm", "vllm-0.32-llm")}
    # A target whose configuration names the version has one version.
    one = b"\n".join(line for line in real["triton-2.51-llm"].splitlines() if b'version="2"' not in line) + b"\n"
    old, dcgm = (fixtures / "vllm-0.8-handwritten.prom").read_bytes(), (fixtures / "dcgm-handwritten.prom").read_bytes()
    return {
        "triton": Body("triton", real["triton-2.51-llm"], {"zone": "a", "simulated": "true"}),
        "triton-labelled": Body("triton", one, {"model": "ranker", "version": "blue", "node": "n1"}),
        "triton-more": Body("triton", TRITON_MORE),
        "vllm": Body("vllm", real["vllm-0.32-llm"], {"version": "v1", "source": "gateway"}),
        "vllm-labelled": Body("vllm", real["vllm-0.32-llm"], {"model": "fast", "zone": "b"}),
        "vllm-old": Body("vllm", old.replace(b"block", b"token")),
        "dcgm": Body("dcgm", dcgm),
        "dcgm-labelled": Body("dcgm", dcgm, {"node": "rack-9"}),
        "sglang": Body("sglang", SGLANG),
        "trtllm": Body("trtllm", TRTLLM),
        "tgi": Body("tgi", TGI, {"model": "chat"}),
        "differs-ranks": Body("sglang", UNEVEN),
        "differs-help": Body("vllm", BLOCKS),
        "differs-bounds": Body("tgi", LARGE),
        "differs-version": Body("triton", VERSIONLESS, {"version": "blue"}),
    }


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files as text in the exposition format."""

    extensions_map = {"": "text/plain; version=0.0.4"}  # noqa: RUF012 - the base class's own shape

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def served(bodies: dict[str, Body], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve every body as a file; yields host:port."""
    folder = tmp_path_factory.mktemp("bodies")
    for name, body in bodies.items():
        (folder / name).write_bytes(body.text)
    handler = functools.partial(Quiet, directory=str(folder))
    with serving(handler) as address:
        yield address


def instance_of(name: str) -> str:
    """Each target has an instance of its own, of every form that one may have."""
    return {"vllm": "[fd00::1]:8000", "vllm-old": "old-host", "dcgm": "10.0.0.9:9400"}.get(name, f"{name}.example:8000")


@pytest.fixture(scope="module")
def ours(bodies: dict[str, Body]) -> dict[Key, float]:
    """What our own scraping makes of the bodies: the canonical series."""
    found: dict[Key, float] = {}
    for name, (engine, text, labels) in bodies.items():
        target = Target(engine, "http://x/metrics", engine, instance_of(name), labels_of(labels))
        parsed = parse(without_blanks(text) if engine == "dcgm" else text)
        for view in canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE).views:
            key = (view.series.name, view.series.labels)
            assert key not in found
            found[key] = view.factor * float(sum(parsed.values[c] for c in view.columns))
    return found


@pytest.fixture(scope="module")
def theirs(
    bodies: dict[str, Body], served: str, ours: dict[Key, float], tmp_path_factory: pytest.TempPathFactory
) -> dict[Key, float]:
    """What a real Prometheus has under the canonical names once it scraped the same bodies and evaluated the rules."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text(recording_rules(CATALOGUE, labels=["zone"]).text)
    jobs: dict[str, list[dict[str, Any]]] = {}
    for name, body in bodies.items():
        labels = {**body.labels, "__metrics_path__": f"/{name}", "instance": instance_of(name)}
        jobs.setdefault(body.engine, []).append({"targets": [served], "labels": labels})
    scrape = [{"job_name": job, "static_configs": groups} for job, groups in jobs.items()]
    timing = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration = json.dumps({"global": timing, "rule_files": ["rules.yml"], "scrape_configs": scrape})
    with prometheus(folder, configuration=configuration) as url:
        found: dict[Key, float] = {}
        deadline = time.monotonic() + HANG_S
        while len(found) < len(ours) and time.monotonic() < deadline:
            time.sleep(1)
            asked = {"query": '{__name__=~"(llm|gpu)_.+"}'}
            answer = httpx.get(f"{url}/api/v1/query", params=asked, timeout=HANG_S).json()["data"]["result"]
            found = {_key(sample["metric"]): float(sample["value"][1]) for sample in answer}
        time.sleep(2)  # what would be too much must not be missed
        deadline = time.monotonic() + HANG_S
        while True:  # a scrape that a busy machine has made too late is repeated
            answer = httpx.get(f"{url}/api/v1/query", params=asked, timeout=HANG_S).json()["data"]["result"]
            if len(answer) >= len(found) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        rules = httpx.get(f"{url}/api/v1/rules", timeout=HANG_S).json()["data"]["groups"]
        assert {rule["lastError"] for group in rules for rule in group["rules"] if "lastError" in rule} <= {""}
        return {_key(sample["metric"]): float(sample["value"][1]) for sample in answer}


def _key(metric: dict[str, str]) -> Key:
    return metric.pop("__name__"), labels_of(metric)


def split(series: dict[Key, float]) -> tuple[dict[Key, float], list[tuple[str, ...]]]:
    """Return the series that must agree, and those of the documented differences: instance, labels that tell, value."""
    alike = {key: value for key, value in series.items() if not dict(key[1])["instance"].startswith("differs-")}
    tell = ("version", "le", "unit")
    other = [
        (
            dict(labels)["instance"].partition(".")[0],
            *(dict(labels)[t] for t in tell if t in dict(labels)),
            f"{value:g}",
        )
        for (_, labels), value in series.items()
        if (_, labels) not in alike
    ]
    return alike, sorted(other)


def test_every_canonical_series_agrees_in_labels_and_value(ours: dict[Key, float], theirs: dict[Key, float]) -> None:
    (own, _), (found, _) = split(ours), split(theirs)
    assert sorted(own.keys() - found.keys()) == []
    assert sorted(found.keys() - own.keys()) == []
    apart = {
        key: (value, found[key])
        for key, value in own.items()
        if not (math.isnan(value) and math.isnan(found[key])) and not math.isclose(value, found[key], rel_tol=1e-9)
    }
    assert apart == {}


def test_the_documented_differences_are_these(ours: dict[Key, float], theirs: dict[Key, float]) -> None:
    """First against largest; HELP texts; bounds of seven digits; a target's label on samples that lack it."""
    assert split(ours)[1] == [
        ("differs-bounds", "+Inf", "10"),
        ("differs-bounds", "1e+06", "3"),
        ("differs-help", "block", "9"),
        ("differs-ranks", "3"),
        ("differs-version", "blue", "2"),
    ]
    assert split(theirs)[1] == [
        ("differs-bounds", "+Inf", "10"),
        ("differs-bounds", "1000000", "3"),
        ("differs-help", "token", "9"),
        ("differs-ranks", "4"),
        ("differs-version", "vblue", "2"),
    ]


def test_there_is_much_to_agree_on(ours: dict[Key, float]) -> None:
    assert len(ours) > 400
    assert {dict(labels)["engine"] for _, labels in ours} == {"triton", "vllm", "dcgm", "sglang", "trtllm", "tgi"}
