"""Which number is believed, and what stays unknown."""

from __future__ import annotations

import math

import promql_parser
import pytest

from alerts.interfaces import VectorSample
from collectors.samples import labels_of
from controlplane.fleet import numbers as n


def sample(value: float, **labels: str) -> VectorSample:
    return VectorSample(labels_of(labels), value)


def outcomes(source: str, version: str = "v1", /, **rates: float) -> list[VectorSample]:
    return [sample(r, model="chat", version=version, source=source, outcome=o) for o, r in rates.items()]


def test_every_query_is_promql_and_keeps_sources_apart() -> None:
    asked = n.queries(15.0)
    for name, expr in asked.items():
        promql_parser.parse(expr)
        assert name.startswith("gpu") or name in ("ready", "engine_ready", "baseline") or "source" in expr


@pytest.mark.parametrize(("interval", "window"), [(1.0, "[60s]"), (15.0, "[60s]"), (30.0, "[120s]"), (60.5, "[242s]")])
def test_rates_look_back_over_four_scrapes_and_a_minute(interval: float, window: str) -> None:
    assert window in n.queries(interval)["outcomes"]


def test_nothing_asked_nothing_known() -> None:
    numbers = n.read({})
    assert n.requests_per_second(numbers, "chat", "v1", only_version=None) is None
    assert n.latency(numbers, "chat", "v1", only_version="v1") is None
    assert n.error_ratio(numbers, "chat", "v1", only_version="v1") is None
    assert n.gauge(numbers.running, "chat", "v1") is None
    assert not numbers.gpus


def test_traffic_is_counted_by_the_gateway_else_the_engine_and_never_added_up() -> None:
    engine = n.read({"outcomes": outcomes("engine", success=7.0, error=1.0)})
    both = n.read({"outcomes": [*outcomes("engine", success=7.0), *outcomes("gateway", success=5.0)]})
    assert n.requests_per_second(engine, "chat", "v1", only_version=None) == 8.0
    assert n.requests_per_second(both, "chat", "v1", only_version=None) == 5.0


def test_a_gateway_that_counts_nothing_stands_back_for_an_engine_that_clients_ask_directly() -> None:
    direct = n.read({"outcomes": [*outcomes("engine", success=7.0), *outcomes("gateway", success=0.0, error=0.0)]})
    assert n.requests_per_second(direct, "chat", "v1", only_version=None) == 7.0
    idle = n.read({"outcomes": [*outcomes("engine", success=0.0), *outcomes("gateway", success=0.0)]})
    assert n.requests_per_second(idle, "chat", "v1", only_version=None) == 0.0


def test_the_probes_own_requests_are_not_traffic() -> None:
    numbers = n.read({"outcomes": outcomes("probe", success=0.2)})
    assert n.requests_per_second(numbers, "chat", "v1", only_version=None) is None


def test_a_known_zero_rate_is_zero() -> None:
    numbers = n.read({"outcomes": outcomes("engine", success=0.0)})
    assert n.requests_per_second(numbers, "chat", "v1", only_version=None) == 0.0


@pytest.mark.parametrize(
    ("rates", "ratio"),
    [
        ({"success": 9.0, "error": 1.0}, 0.1),
        ({"success": 8.0, "timeout": 1.0, "rejected": 1.0, "error": 0.0}, 0.2),
        ({"success": 9.0, "cut": 1.0, "error": 0.0}, 0.1),
        ({"success": 9.0, "aborted": 1.0, "error": 0.0}, 0.0),
        ({"success": 9.0}, None),
        ({"success": 0.0, "error": 0.0}, None),
        ({"success": 1.0, "error": 1.0, "unknown": 5.0}, None),
    ],
    ids=[
        "errors",
        "all-failures",
        "cut-answers",
        "aborts-are-no-failure",
        "failures-not-counted",
        "no-traffic",
        "outcome-unknown",
    ],
)
def test_error_ratio(rates: dict[str, float], ratio: float | None) -> None:
    numbers = n.read({"outcomes": outcomes("engine", **rates)})
    assert n.error_ratio(numbers, "chat", "v1", only_version=None) == (None if ratio is None else (ratio, "engine"))


def test_quality_is_told_by_who_is_nearest_to_the_client() -> None:
    key = {"model": "chat", "version": "v1"}
    engine, probe, gateway = (
        sample(v, source=s, **key) for v, s in ((1.0, "engine"), (2.0, "probe"), (3.0, "gateway"))
    )

    def p99(*found: VectorSample) -> n.Latency | None:
        return n.latency(n.read({"p99": found}), "chat", "v1", only_version=None)

    assert p99(engine) == (1.0, "engine", None)
    assert p99(engine, probe) == (2.0, "probe", None)
    assert p99(engine, probe, gateway) == (3.0, "gateway", None)


def test_an_unversioned_probe_speaks_for_the_one_version_that_it_reaches() -> None:
    numbers = n.read({"p99": [sample(0.4, model="chat", source="probe")]})
    assert n.latency(numbers, "chat", "v2", only_version="v2") == (0.4, "probe", None)
    assert n.latency(numbers, "chat", "v1", only_version="v2") is None
    assert n.latency(numbers, "chat", "v1", only_version=None) is None


def test_a_proxy_that_knows_no_versions_speaks_for_the_one_version_that_gets_all_requests() -> None:
    numbers = n.read(
        {
            "outcomes": [*outcomes("proxy", "", success=3.0, error=1.0), *outcomes("engine", "v2", success=9.0)],
            "p99": [sample(0.4, model="chat", source="proxy"), sample(0.2, model="chat", source="probe")],
        }
    )
    assert n.requests_per_second(numbers, "chat", "v2", only_version="v2") == 4.0
    assert n.error_ratio(numbers, "chat", "v2", only_version="v2") == (0.25, "proxy")
    assert n.latency(numbers, "chat", "v2", only_version="v2") == (0.4, "proxy", None)
    # While two versions share the requests, nobody knows whose they were.
    assert n.requests_per_second(numbers, "chat", "v2", only_version=None) == 9.0
    assert n.requests_per_second(numbers, "chat", "v1", only_version="v2") is None
    assert n.latency(numbers, "chat", "v2", only_version=None) is None


def test_readiness_is_kept_by_version_and_backend() -> None:
    numbers = n.read(
        {
            "ready": [
                sample(1.0, model="chat", version="v1", backend="http://a:8000"),
                sample(0.0, model="chat", version="v2", backend="http://b:8000"),
            ]
        }
    )
    assert numbers.ready == {
        n.BackendKey("chat", "v1", "http://a:8000"): True,
        n.BackendKey("chat", "v2", "http://b:8000"): False,
    }


def test_the_slowest_engine_kind_counts_when_layouts_cannot_be_mixed() -> None:
    key = {"model": "chat", "version": "v1", "source": "engine"}
    numbers = n.read({"p99": [sample(1.0, engine="vllm", **key), sample(3.0, engine="triton", **key)]})
    assert n.latency(numbers, "chat", "v1", only_version=None) == (3.0, "engine", None)


def test_how_many_requests_stand_behind_a_p99_is_told_by_the_source_that_told_it() -> None:
    found = {
        "p99": [sample(0.4, model="chat", source="probe"), sample(9.0, model="chat", version="v1", source="engine")],
        "samples": [
            sample(10.2, model="chat", source="probe"),
            sample(7.0, model="chat", version="v1", source="engine"),
        ],
    }
    assert n.latency(n.read(found), "chat", "v1", only_version="v1") == (0.4, "probe", 10.2)


def test_a_gpus_index_is_told_by_nvml_or_by_the_dcgm_exporters_own_label() -> None:
    nvml = [sample(1.0, gpu="GPU-1", gpu_index="0"), sample(1.0, gpu="GPU-2")]
    dcgm = [sample(55.0, UUID="GPU-3", gpu="7"), sample(55.0, gpu="8")]
    numbers = n.read({"gpu_index": nvml, "gpu_index.dcgm": dcgm})
    assert numbers.gpu_index == {"GPU-1": "0", "GPU-3": "7"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_quantile_of_nothing_is_unknown(value: float) -> None:
    numbers = n.read({"p99": [sample(value, model="chat", version="v1", source="engine")]})
    assert n.latency(numbers, "chat", "v1", only_version=None) is None


def test_one_gpu_that_two_exporters_report_is_one_gpu() -> None:
    gpu = {"node": "a", "gpu": "GPU-1"}
    numbers = n.read(
        {
            "gpu.utilization_ratio": [sample(0.5, **gpu), sample(0.7, simulated="true", **gpu)],
            "gpu.temperature_celsius": [sample(60.0, **gpu)],
        }
    )
    assert dict(numbers.gpus) == {
        n.GpuKey("a", "GPU-1"): n.GpuNumbers({"utilization_ratio": 0.7, "temperature_celsius": 60.0}, True)
    }


def test_exporters_that_name_the_node_differently_report_one_gpu_on_the_node_as_its_own_exporter_names_it() -> None:
    gpu = "GPU-1"
    named = [("10.0.0.5", "triton", 90.0), ("gpu-a", "nvml", 91.0), ("gpu-a.example", "dcgm", 92.0)]
    samples = [sample(value, node=node, engine=engine, gpu=gpu) for node, engine, value in named]
    numbers = n.read({"gpu.temperature_celsius": samples})
    assert dict(numbers.gpus) == {n.GpuKey("gpu-a", gpu): n.GpuNumbers({"temperature_celsius": 92.0}, False)}


def test_the_pods_of_a_gpu_and_the_model_that_its_exporter_is_labelled_with() -> None:
    pods = [sample(1.0, gpu="GPU-1", pod="b"), sample(1.0, gpu="GPU-1", pod="a"), sample(1.0, gpu="GPU-2")]
    numbers = n.read({"gpu_pods": pods, "gpu_models": [sample(5e9, gpu="GPU-2", model="chat")]})
    assert (numbers.gpu_pods, numbers.gpu_models) == ({"GPU-1": ("a", "b")}, {"GPU-2": "chat"})
