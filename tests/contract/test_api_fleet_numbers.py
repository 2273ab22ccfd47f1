"""From captured exposition text to the numbers on the page, with nothing faked in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from alerts.interfaces import AlertState
from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.parser import Limits, parse
from collectors.samples import Metadata, Series, labels_of
from collectors.target import Target
from controlplane.config.model import Fleet
from controlplane.fleet.reader import FleetReader
from controlplane.fleet.views import VersionView
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.rollout.attention import Attention
from controlplane.rollout.reporting.reader import ModelStatus
from controlplane.rollout.stored.recorded import RecordedRollout

NOW = 1_800_000_000.0
CONFIG = Fleet.model_validate(
    {
        "fleet": {"name": "prod"},
        "models": [{"name": "chat", "stable": "v1", "traffic": {"driver": "none"}, "versions": {"v1": {}, "v2": {}}}],
    }
)


class Clock:
    def now(self) -> float:
        return NOW


class Models:
    async def models(self) -> Sequence[ModelStatus]:
        return [ModelStatus("chat", "v1", None, None, None, "", None, False)]

    async def list(self, model: str | None = None, limit: int = 50) -> Sequence[RecordedRollout]:
        return []

    def attention(self) -> Sequence[Attention]:
        return []


class Alerts:
    def counts(self) -> Mapping[AlertState, int]:
        return {}


async def shown(body: bytes, target: Target) -> dict[str, VersionView]:
    """Scrape a capture five times in a minute, its counters growing by a tenth each time, and look at the page."""
    store = SeriesStore(3600.0)
    parsed = parse(body, Limits())
    layout = canonical_layout(parsed.series, parsed.metadata, target, load_catalogue())
    grows = np.array([_kind(series, parsed.metadata) in ("counter", "histogram") for series in layout.raw])
    for step in range(5):
        values = np.where(grows, parsed.values * (1 + step / 10), parsed.values)
        store.append(target.key, layout, round((NOW - 60 + 15 * step) * 1000), values)
    querier = MetricsQuerier(PromqlEngine(store))
    reader = FleetReader(
        config=lambda: CONFIG,
        queries=querier,
        models=Models(),
        alerts=Alerts(),
        targets=list,
        clock=Clock(),
        unread=list,
        observe_only=False,
    )
    fleet = await reader.fleet()
    querier.close()
    assert fleet.warnings == ()
    return {version.version: version for version in fleet.models[0].versions}


def _kind(series: Series, metadata: Mapping[str, Metadata]) -> str:
    names = (series.name, series.name.removesuffix("_bucket"), series.name.removesuffix("_count"))
    return next((metadata[name].type for name in names if name in metadata), "unknown")


async def test_vllm(fixtures: Path) -> None:
    labels = labels_of({"model": "chat", "version": "v1"})
    target = Target("vllm", "http://a/metrics", "vllm", "a", labels)
    versions = await shown((fixtures / "vllm-0.32-llm.prom").read_bytes(), target)
    v1, v2 = versions["v1"], versions["v2"]
    assert v1.requests_per_second == pytest.approx(120 * 0.4 / 60)
    # 99% of 120 requests are 118.8: between the 84 within 0.3 s and the 119 within 0.5 s.
    assert v1.latency_p99_seconds == pytest.approx(0.3 + 0.2 * (118.8 - 84) / 35)
    assert (v1.latency_source, v1.error_ratio, v1.running, v1.waiting) == ("engine", 0.0, 0.0, 0.0)
    assert (v2.requests_per_second, v2.latency_p99_seconds, v2.error_ratio, v2.running) == (None, None, None, None)


async def test_triton(fixtures: Path) -> None:
    target = Target("triton", "http://a/metrics", "triton", "a", models=(("llm", "chat"),))
    versions = await shown((fixtures / "triton-2.51-llm.prom").read_bytes(), target)
    v1, v2 = versions["v1"], versions["v2"]
    assert v1.requests_per_second == pytest.approx(20 * 0.4 / 60)
    assert v2.requests_per_second == pytest.approx(23 * 0.4 / 60)
    assert v1.traffic_share == pytest.approx(20 / 43)
    assert v1.latency_p99_seconds is None  # it has no histogram, and its summaries end where a stream begins
    assert (v1.error_source, v1.error_ratio, v1.waiting) == ("engine", 0.0, 0.0)
    assert v1.running is None  # Triton does not say


async def test_a_gateway(fixtures: Path) -> None:
    target = Target("gateway", "http://g/metrics", "gateway", "g:8401")
    v1 = (await shown((fixtures / "gateway.prom").read_bytes(), target))["v1"]
    assert v1.requests_per_second == pytest.approx(2 * 0.4 / 60)
    assert (v1.error_source, v1.error_ratio) == ("gateway", 0.5)  # one of two answers was cut
    assert (v1.latency_source, v1.running) == ("gateway", 0.0)
