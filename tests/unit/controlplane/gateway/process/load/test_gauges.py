"""The load in an engine's metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import parse
from controlplane.gateway.process.load.gauges import Gauges, Load

GAUGES = Gauges(load_catalogue())
VLLM = b"""# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="chat"} 3.0
vllm:num_requests_waiting{engine="1",model_name="a \\"} 99\\" b"} 7.0
vllm:num_requests_waiting_total{engine="0"} 88.0
vllm:kv_cache_usage_perc{engine="0",model_name="chat"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="chat"} 0.25
other_vllm:num_requests_waiting 77
"""


@pytest.mark.parametrize(
    ("engine", "body", "load"),
    [
        ("vllm", VLLM, Load(7.0, 0.5)),
        ("vllm", VLLM.replace(b"\n", b"\r\n"), Load(7.0, 0.5)),
        ("vllm", b"vllm:num_requests_waiting 4 1700000000000\n", Load(4.0)),
        ("vllm", b"vllm:gpu_cache_usage_perc 0.9\n", Load(None, 0.9)),
        ("vllm", b"vllm:num_requests_waiting NaN\nvllm:kv_cache_usage_perc +Inf\n", Load()),
        ("vllm", b"vllm:num_requests_waiting many\n", Load()),
        ("vllm", b"vllm:num_requests_waiting -1\n", Load()),
        ("vllm", b"# vllm:num_requests_waiting 4\n", Load()),
        ("vllm", b"<html>", Load()),
        ("vllm", b"", Load()),
        ("sglang", b'sglang:num_queue_reqs{tp_rank="0"} 6\nsglang:token_usage 0.1\n', Load(6.0, 0.1)),
        ("triton", b'nv_inference_pending_request_count{model="a",version="1"} 2\n', Load(2.0)),
        ("trtllm", b"trtllm_num_requests_waiting 1\ntrtllm_kv_cache_utilization 0.99\n", Load(1.0, 0.99)),
    ],
)
def test_the_two_gauges_of_an_engine(engine: str, body: bytes, load: Load) -> None:
    assert GAUGES.read(engine, body) == load


@pytest.mark.parametrize(
    ("load", "full"),
    [
        (Load(), False),
        (Load(4.0), False),
        (Load(5.0), True),
        (Load(5.0, 0.1), True),
        (Load(0.0, 1.0), False),
        (Load(1.0, 0.95), True),
        (Load(1.0, 0.94), False),
        (Load(None, 1.0), False),
    ],
)
def test_a_full_engine_has_a_queue(load: Load, full: bool) -> None:
    assert load.is_full == full


def test_real_engines_are_read_as_the_control_plane_reads_them() -> None:
    seen = 0
    for path in sorted(Path("tests/fixtures").glob("vllm*.prom")):
        body = path.read_bytes()
        parsed = parse(body)
        waiting = [
            value
            for series, value in zip(parsed.series, parsed.values, strict=True)
            if series.name == "vllm:num_requests_waiting"
        ]
        if waiting:
            seen += 1
            assert GAUGES.read("vllm", body).waiting == max(waiting), path
    assert seen


@given(st.binary(max_size=200), st.sampled_from(("vllm", "sglang", "triton", "tgi", "llamacpp")))
def test_any_bytes_are_read(body: bytes, engine: str) -> None:
    assert isinstance(GAUGES.read(engine, b"vllm:num_requests_waiting" + body), Load)
