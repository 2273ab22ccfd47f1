"""The numbers of each version and GPU: a fixed set of PromQL queries, and the choice of a source for each number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from alerts.interfaces import VectorSample
from controlplane.rollout.evidence import FAILED

MIN_WINDOW_S = 60.0
"""Minimum window of rates, in seconds. The window also covers four scrapes, so that one lost scrape leaves no gap."""

TRAFFIC_SOURCES = ("gateway", "proxy", "engine")
"""Sources of request counts, best first. The probe is not among them: it counts only its own requests. A source that
counts nothing stands back: a gateway names every model of fleet.yaml, and clients may ask an engine directly."""
QUALITY_SOURCES = ("gateway", "proxy", "probe", "engine")
"""Sources of latency and failures, the nearest to the client first."""
UNVERSIONED = frozenset({"proxy", "probe"})
"""Sources that may know a model and none of its versions."""


class Key(NamedTuple):
    """The model, version and source of a number. `version` is "" if the source knows none (a probe, LiteLLM)."""

    model: str
    version: str
    source: str


class BackendKey(NamedTuple):
    """One version on one backend. `url` is scheme, host and port."""

    model: str
    version: str
    url: str


class GpuKey(NamedTuple):
    """One GPU. Its UUID is its identity, for all exporters that report it. One of them gives the node."""

    node: str
    gpu: str


class GpuNumbers(NamedTuple):
    """A GPU's gauges by the field name of GpuView, and whether any of its exporters is simulated."""

    values: Mapping[str, float]
    simulated: bool


@dataclass(frozen=True)
class Numbers:
    """The results of all queries at one instant. A missing key is unknown, never zero."""

    outcomes: Mapping[Key, Mapping[str, float]] = field(default_factory=dict)
    """Requests per second, by outcome."""
    p99: Mapping[Key, float] = field(default_factory=dict)
    """The P99 of the duration in seconds, from histograms."""
    samples: Mapping[Key, float] = field(default_factory=dict)
    """Number of requests behind `p99`. Of a few requests the P99 is little more than the slowest one."""
    ready: Mapping[BackendKey, bool] = field(default_factory=dict)
    """Readiness of a version on a backend, from the backend's endpoint."""
    engine_ready: Mapping[str, bool] = field(default_factory=dict)
    """Readiness of a backend's whole server, by backend URL."""
    running: Mapping[Key, float] = field(default_factory=dict)
    waiting: Mapping[Key, float] = field(default_factory=dict)
    learning: Mapping[str, bool] = field(default_factory=dict)
    """Whether the baseline of a model's traffic is still being learnt. Absent: it has no traffic, or no rule."""
    gpus: Mapping[GpuKey, GpuNumbers] = field(default_factory=dict)
    gpu_index: Mapping[str, str] = field(default_factory=dict)
    """Index of a GPU on its node by the GPU's UUID, as `nvidia-smi -i` accepts it."""
    gpu_pods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the pods that have a GPU, by its UUID."""
    gpu_models: Mapping[str, str] = field(default_factory=dict)
    """Model that the labels of a GPU's exporter name, by the GPU's UUID."""
    warnings: tuple[str, ...] = ()


GPU_GAUGES = {
    "utilization_ratio": "gpu_utilization_ratio",
    "memory_used_bytes": "gpu_memory_used_bytes",
    "memory_total_bytes": "gpu_memory_total_bytes",
    "temperature_celsius": "gpu_temperature_celsius",
    "power_watts": "gpu_power_watts",
}
"""Canonical metric of each gauge field of GpuView."""
NODE_SOURCES = ("nvml", "dcgm")
"""Kinds of exporters by how well they know their node's name, best first. builtin:gpu has the same order."""


def queries(scrape_interval_s: float) -> dict[str, str]:
    """Return the PromQL queries by name. Buckets are also grouped by `engine`: engines differ in their boundaries."""
    window = f"{math.ceil(max(MIN_WINDOW_S, 4 * scrape_interval_s))}s"
    by = "model, version, source"
    found = {
        # Proxies of two kinds, one behind the other, count the same requests.
        "outcomes": f'sum by ({by}, outcome) (rate(llm_requests_total{{source!="proxy"}}[{window}])) or max by ({by}, '
        f'outcome) (sum by ({by}, engine, outcome) (rate(llm_requests_total{{source="proxy"}}[{window}])))',
        "p99": "histogram_quantile(0.99, "
        f"sum by ({by}, engine, le) (rate(llm_request_duration_seconds_bucket[{window}])))",
        "samples": f"sum by ({by}) (increase(llm_request_duration_seconds_count[{window}]))",
        "ready": "max by (model, version, backend) (llm_backend_ready)",
        "engine_ready": "min by (backend) (llm_engine_ready)",
        "running": f"sum by ({by}) (llm_requests_running)",
        "waiting": f"sum by ({by}) (llm_requests_waiting)",
        "baseline": "max by (model) (model:llm_requests:learning or 0 * model:llm_requests:baseline)",
        "gpu_index": "max by (gpu, gpu_index) (gpu_info)",
        "gpu_pods": "max by (gpu, pod) (gpu_pod_info)",
        "gpu_models": 'max by (gpu, model) (gpu_memory_used_bytes{model!=""})',
        # The exporter's label `gpu` is the index; under that name the canonical series have the UUID.
        "gpu_index.dcgm": 'max by (UUID, gpu) ({__name__=~"DCGM_FI_DEV_GPU_TEMP|DCGM_FI_DEV_FB_USED"})',
    }
    for name, metric in GPU_GAUGES.items():
        found[f"gpu.{name}"] = f"max by (node, gpu, engine, simulated) ({metric})"
    return found


def read(results: Mapping[str, Sequence[VectorSample]], warnings: Sequence[str] = ()) -> Numbers:
    """Convert query results to Numbers. NaN is dropped: a quantile without requests is unknown."""
    outcomes: dict[Key, dict[str, float]] = {}
    for labels, value in _finite(results.get("outcomes", ())):
        outcomes.setdefault(_key(labels), {})[labels.get("outcome", "unknown")] = value
    return Numbers(
        outcomes=outcomes,
        p99=_largest(results.get("p99", ())),
        samples=_largest(results.get("samples", ())),
        ready={_backend_key(labels): value > 0 for labels, value in _finite(results.get("ready", ()))},
        engine_ready={
            labels.get("backend", ""): value > 0 for labels, value in _finite(results.get("engine_ready", ()))
        },
        running=_largest(results.get("running", ())),
        waiting=_largest(results.get("waiting", ())),
        learning={labels.get("model", ""): value > 0 for labels, value in _finite(results.get("baseline", ()))},
        gpus=_gpus(results),
        gpu_index=_gpu_index(results),
        gpu_pods=_gpu_pods(results.get("gpu_pods", ())),
        gpu_models={labels.get("gpu", ""): labels["model"] for labels, _ in _finite(results.get("gpu_models", ()))},
        warnings=tuple(warnings),
    )


def requests_per_second(numbers: Numbers, model: str, version: str, *, only_version: str | None) -> float | None:
    """Return the requests per second of a version from its best traffic source, or None.

    `only_version` is the version that gets all requests of the model, so that unversioned numbers are of it. None: no
    version does.
    """
    totals = {key: sum(outcomes.values()) for key, outcomes in numbers.outcomes.items() if outcomes}
    keys = [key for source in TRAFFIC_SOURCES for key in _candidates(model, version, source, only_version)]
    return _first(totals, keys)


class Latency(NamedTuple):
    """A P99 in seconds, its source, and the number of its requests (None: unknown)."""

    seconds: float
    source: str
    samples: float | None


def latency(numbers: Numbers, model: str, version: str, *, only_version: str | None) -> Latency | None:
    """Return the P99 of the best source. `only_version` is the version that gets all requests of the model, or None.

    Triton's summaries are not used: for a decoupled model they end where the stream begins, so they are no bound.
    """
    for source in QUALITY_SOURCES:
        for key in _candidates(model, version, source, only_version):
            if key in numbers.p99:
                return Latency(numbers.p99[key], source, numbers.samples.get(key))
    return None


def error_ratio(numbers: Numbers, model: str, version: str, *, only_version: str | None) -> tuple[float, str] | None:
    """Return (failed ÷ all requests, source), or None without traffic or when no source counts failures.

    The ratio of source `engine` is too low: most failures never reach an engine's counters.
    """
    for source in QUALITY_SOURCES:
        for key in _candidates(model, version, source, only_version):
            ratio = _ratio(numbers.outcomes.get(key, {}))
            if ratio is not None:
                return ratio, source
    return None


def gauge(values: Mapping[Key, float], model: str, version: str) -> float | None:
    """Return a version's number from its best traffic source: the first above 0, else the first."""
    return _first(values, [Key(model, version, source) for source in TRAFFIC_SOURCES])


def _first(values: Mapping[Key, float], keys: Sequence[Key]) -> float | None:
    found = [values[key] for key in keys if key in values]
    return next((value for value in found if value > 0), found[0] if found else None)


def _backend_key(labels: Mapping[str, str]) -> BackendKey:
    return BackendKey(labels.get("model", ""), labels.get("version", ""), labels.get("backend", ""))


def _candidates(model: str, version: str, source: str, only_version: str | None) -> list[Key]:
    keys = [Key(model, version, source)]
    if source in UNVERSIONED and only_version == version:
        keys.append(Key(model, "", source))
    return keys


def _ratio(outcomes: Mapping[str, float]) -> float | None:
    total = sum(outcomes.values())
    if total <= 0 or outcomes.get("unknown", 0.0) > 0 or not FAILED & outcomes.keys():
        return None
    return sum(rate for outcome, rate in outcomes.items() if outcome in FAILED) / total


def _key(labels: Mapping[str, str]) -> Key:
    return Key(labels.get("model", ""), labels.get("version", ""), labels.get("source", ""))


def _finite(samples: Sequence[VectorSample]) -> list[tuple[dict[str, str], float]]:
    return [(dict(s.labels), s.value) for s in samples if math.isfinite(s.value)]


def _largest(samples: Sequence[VectorSample]) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for labels, value in _finite(samples):
        key = _key(labels)
        found[key] = max(value, found.get(key, value))
    return found


def _gpus(results: Mapping[str, Sequence[VectorSample]]) -> dict[GpuKey, GpuNumbers]:
    values: dict[str, dict[str, float]] = {}
    nodes: dict[str, tuple[int, str]] = {}
    simulated: set[str] = set()
    for name in GPU_GAUGES:
        for labels, value in _finite(results.get(f"gpu.{name}", ())):
            gpu, engine = labels.get("gpu", ""), labels.get("engine", "")
            rank = NODE_SOURCES.index(engine) if engine in NODE_SOURCES else len(NODE_SOURCES)
            named = rank, labels.get("node", "")
            nodes[gpu] = min(named, nodes.get(gpu, named))
            gauges = values.setdefault(gpu, {})
            gauges[name] = max(value, gauges.get(name, value))
            if labels.get("simulated") == "true":
                simulated.add(gpu)
    found = {GpuKey(nodes[gpu][1], gpu): GpuNumbers(gauges, gpu in simulated) for gpu, gauges in values.items()}
    return dict(sorted(found.items()))


def _gpu_index(results: Mapping[str, Sequence[VectorSample]]) -> dict[str, str]:
    found = {}
    for name, uuid, index in (("gpu_index", "gpu", "gpu_index"), ("gpu_index.dcgm", "UUID", "gpu")):
        for labels, _ in _finite(results.get(name, ())):
            if labels.get(uuid) and labels.get(index):
                found[labels[uuid]] = labels[index]
    return found


def _gpu_pods(samples: Sequence[VectorSample]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for labels, _ in _finite(samples):
        if labels.get("pod"):
            found.setdefault(labels.get("gpu", ""), set()).add(labels["pod"])
    return {gpu: tuple(sorted(pods)) for gpu, pods in found.items()}
