"""The packs over the text of real servers and GPUs: a healthy fleet pages nobody, and rules have real sources.

Only time passes and counters grow. Scraping, the catalogue, the store and PromQL are real.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import controlplane.store.tables.alerts  # noqa: F401 - fills SQLModel.metadata
from alerts.evaluate import GroupEvaluator
from alerts.packs import BUILTIN, PackOptions, load_pack
from alerts.packs.slos import Slo
from alerts.template import Surroundings
from collectors.catalogue.mapping import canonical_layout
from collectors.catalogue.model import load_catalogue
from collectors.exposition.interner import Interner
from collectors.exposition.parser import Parsed
from collectors.samples import Layout
from collectors.scraping.scrape import ScrapeManager
from collectors.target import Source, Target
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.migrate import migrate
from tests.fakes.recipes import MadeBy
from tests.fakes.scrape_once import scrape_once

T0 = 1_800_000_000.0
STEP_S = 30.0
FIXTURES = Path(__file__).parent.parent / "fixtures"
CATALOGUE = load_catalogue()
HEALTHY = {
    "vllm": ["vllm-0.32-llm.prom", "captures/vllm-0.32-cpu.prom", "captures/vllm-0.32-cpu.prom"],
    "triton": ["triton-2.51-llm.prom", "captures/triton-2.51-cache-seq-stream.prom"],
    "sglang": ["captures/sglang-0.5.23-cpu.prom"],
    "llamacpp": ["captures/llamacpp-b10434.prom"],
    "gateway": ["gateway.prom"],
    "nvml": ["nvml-h200-idle.prom", "nvml-h200-busy.prom"],
}
"""Captured texts by the engine of their targets. Two texts of one engine are two servers."""
FAILS = re.compile(
    r"fail|error|abort|cut|timeout|reject|refus|invalid|lost|retract|preempt|restart|xid|ecc|ejection|REMAP"
)


class Capture:
    """A server that exposes a captured text. Its counters grow by `share` of their value with each scrape."""

    def __init__(self, text: str, share: float) -> None:
        self._lines, self._share, self._scrapes = text.splitlines(), share, 0
        kinds = dict(line[7:].rsplit(" ", 1) for line in self._lines if line.startswith("# TYPE "))
        self._growing = {name for name, kind in kinds.items() if kind in ("counter", "histogram")}

    async def read(self, timeout_s: float) -> bytes:
        """Return the text as it is after one more scrape interval."""
        self._scrapes += 1
        return "\n".join((*map(self._grown, self._lines), "")).encode()

    async def close(self) -> None:
        """Do nothing."""

    def _grown(self, line: str) -> str:
        if line.startswith("#") or not line.strip() or FAILS.search(line):
            return line
        series, _, value = line.rpartition(" ")
        name = series.partition("{")[0]
        family = re.sub(r"_(bucket|sum|count|total)$", "", name)
        if not {name, family, f"{family}_total"} & self._growing or value in ("NaN", "+Inf"):
            return line
        return f"{series} {float(value) * (1 + self._share * self._scrapes)!r}"


class Replay:
    """A fleet of captured servers and the rules of every pack."""

    def __init__(self, db: Database, share: float, captures: dict[str, list[str]]) -> None:
        self.at, self.store, self.log = T0, SeriesStore(), SqlAlertLog(db)
        self.sources = {
            Target(
                engine,
                f"http://{engine}-{n}:1/metrics",
                engine,
                f"{engine}-{n}:1",
                labels(engine),
                interval_s=STEP_S,
                timeout_s=1,
            ): Capture((FIXTURES / name).read_text(encoding="utf-8"), share)
            for engine, names in captures.items()
            for n, name in enumerate(names)
        }
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.scraping = ScrapeManager(self.store, partial(MadeBy, self._source), self._layout, self)
        options = PackOptions(slos=(Slo("chat", "up", objective=0.999, window_s=30 * 86400.0),))
        groups = [group for pack in BUILTIN for group in load_pack(pack, options=options)]
        self.evaluators = [
            GroupEvaluator(group, self.querier, self.log, self.store, self, around=Surroundings()) for group in groups
        ]

    def now(self) -> float:
        return self.at

    async def run(self, seconds: float) -> None:
        end = self.at + seconds
        while self.at < end:
            for target in self.sources:
                await scrape_once(self.scraping, target, self.at)
            for evaluator in self.evaluators:
                report = await evaluator.evaluate()
                assert [r.last_error for r in report.rules if r.last_error] == []
            self.at += STEP_S

    def active(self) -> list[dict[str, str]]:
        """Return the labels of the alerts for people, sorted by name."""
        found = [dict(i.labels) for i in self.log.active()]
        return sorted((one for one in found if one["severity"] != "none"), key=lambda one: one["alertname"])

    def _source(self, target: Target) -> Source:
        return self.sources[target]

    def _layout(self, target: Target, parsed: Parsed) -> Layout:
        return canonical_layout(parsed.series, parsed.metadata, target, CATALOGUE, Interner())


def labels(engine: str) -> tuple[tuple[str, str], ...]:
    return () if engine in ("nvml", "dcgm", "gateway") else (("model", "chat"), ("version", "v1"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/cp.db")
    migrate(made)
    yield made
    made.close()


@pytest.mark.parametrize("share", [0.0, 0.01], ids=["idle", "busy"])
async def test_a_healthy_fleet_pages_nobody(database: Database, share: float) -> None:
    replay = Replay(database, share, HEALTHY)
    await replay.run(45 * 60)
    assert replay.active() == []
    replay.querier.close()


SEEN = (
    'llm_engine_start_time_seconds{engine="vllm"}',
    'llm_requests_running{engine="vllm",rank="0"}',
    'llm_preemptions_total{engine="vllm"}',
    'llm_kv_cache_usage_ratio{engine="sglang"}',
    'llm_requests_waiting{engine="llamacpp"}',
    'llm_requests_total{engine="triton"}',
    "model_instance:llm_request_duration_seconds:mean",
    "model_instance:llm_requests_open:avg",
    'controlplane_gateway_refusals_total{kind="unauthenticated"}',
    "tenant:controlplane_gateway_tokens:rate",
    'slo:requests:rate5m{source="gateway"}',
    "slo:burn_rate1h",
    "slo:error_budget:remaining_ratio",
    'gpu_throttle_active{engine="nvml"}',
    "node_gpu:gpu_memory:used_ratio",
)
"""Series that the captured texts must give: a rule over nothing is quiet too."""


async def test_the_rules_see_the_captured_servers(database: Database) -> None:
    replay = Replay(database, 0.01, HEALTHY)
    await replay.run(15 * 60)
    absent = [expr for expr in SEEN if not await replay.querier.instant(expr, replay.at - STEP_S)]
    assert absent == []
    replay.querier.close()


async def test_the_counters_of_dcgm_that_are_off_by_default_fire_once_they_are_on(database: Database) -> None:
    replay = Replay(database, 0.01, {"dcgm": ["dcgm-counters-handwritten.prom"]})
    await replay.run(15 * 60)
    assert [
        (labels["alertname"], labels["gpu"], labels.get("type") or labels.get("reason")) for labels in replay.active()
    ] == [
        ("GPUErrors", "GPU-aaaa", "xid_79"),
        ("GPUMemoryTemperatureHigh", "GPU-aaaa", None),
        ("GPUNVLinkErrors", "GPU-aaaa", "nvlink_replay"),
        ("GPUPowerBrake", "GPU-aaaa", "hw_power_brake"),
        ("GPURowRemapFailed", "GPU-aaaa", None),
        ("GPUThermalThrottle", "GPU-bbbb", "hw_thermal"),
        ("GPUXidReported", "GPU-bbbb", "xid_31"),
    ]
    replay.querier.close()
