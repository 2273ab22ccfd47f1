"""The built-in packs over a real series store with a fleet's samples: faults come and go, alerts fire and resolve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import SQLModel, select

import controlplane.store.tables
import controlplane.store.tables.alerts  # noqa: F401 - fills SQLModel.metadata
from alerts.evaluate import GroupEvaluator
from alerts.packs import load_sources
from alerts.template import Surroundings
from collectors.samples import Layout, Series, labels_of
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.database import Database
from controlplane.store.tables.alerts import AlertInstanceRow
from tests.fakes.override import Override

FAST = Override(for_=30.0, window=60.0)
OVERRIDES: Mapping[str, Override] = {
    "error_rate": FAST,
    "timeout_rate": FAST,
    "latency_p99": FAST,
    "service_down": Override(for_=30.0),
    "temperature": Override(for_=30.0),
}
SCRAPE_S = 5.0


@dataclass
class Fleet:
    """A fleet that is scraped every five seconds, with the alerts of all packs but backups."""

    db: Database
    at: float = 1_700_000_000.0
    series: dict[Series, float] = field(default_factory=dict)
    growth: dict[Series, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = SeriesStore()
        self.querier = MetricsQuerier(PromqlEngine(self.store))
        self.start()

    def start(self) -> None:
        """Start or restart a control plane. Only the database and the series remain from before."""
        groups = load_sources(["builtin:llm", "builtin:gpu"], Path("/nowhere"), OVERRIDES)
        self.rules = {rule.id for group in groups for rule in group.rules}
        self.log = SqlAlertLog(self.db)
        self.evaluators = [
            GroupEvaluator(g, self.querier, self.log, self.store, self, around=Surroundings()) for g in groups
        ]
        self.layout = Layout(raw=())

    def now(self) -> float:
        return self.at

    def set(self, name: str, value: float, per_second: float = 0.0, **labels: str) -> None:
        series = Series(name, labels_of(labels))
        self.series[series] = value if not per_second else self.series.get(series, value)
        self.growth[series] = per_second

    def answers(self, up: bool, engine: str, **labels: Any) -> None:
        """Set what every scrape reports of a target: `up`, and `target_up` with its kind of engine."""
        self.set("up", float(up), **labels)
        self.set("target_up", float(up), engine=engine, **labels)

    async def run(self, seconds: float) -> None:
        end = self.at + seconds
        while self.at < end:
            for series, per_second in self.growth.items():
                self.series[series] += per_second * SCRAPE_S
            if self.layout.raw != tuple(self.series):
                self.layout = Layout(raw=tuple(self.series))
            self.store.append("fleet", self.layout, round(self.at * 1000), np.array(list(self.series.values())))
            for evaluator in self.evaluators:
                report = await evaluator.evaluate()
                assert [r.last_error for r in report.rules if r.last_error] == []
            self.at += SCRAPE_S

    def states(self) -> dict[str, str]:
        alerts = [(dict(i.labels), i.state.value) for i in self.log.active()]
        return {labels["alertname"]: state for labels, state in alerts if labels["severity"] != "none"}

    def story(self, alertname: str) -> list[str]:
        events = [e for e in self.log.recent(1000) if dict(e.instance.labels)["alertname"] == alertname]
        return [e.sentence for e in reversed(events)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    database = Database(f"sqlite:///{tmp_path}/cp.db")
    SQLModel.metadata.create_all(database.engine)
    made = Fleet(database)
    yield made
    made.querier.close()
    database.close()


def probe(fleet: Fleet, success: float, error: float = 0.0, timeout: float = 0.0) -> None:
    for outcome, rate in (("success", success), ("error", error), ("timeout", timeout)):
        labels = {"engine": "probe", "source": "probe", "model": "chat", "version": "v1", "outcome": outcome}
        fleet.set("llm_requests_total", 0.0, per_second=rate or 1e-9, **labels)


async def test_errors_begin_are_told_and_end(fleet: Fleet) -> None:
    probe(fleet, success=2.0)
    await fleet.run(120)
    assert fleet.states() == {}
    probe(fleet, success=1.8, error=0.2)
    await fleet.run(20)
    assert fleet.states() == {"LLMErrorRateHigh": "pending"}
    await fleet.run(30)
    assert fleet.states() == {"LLMErrorRateHigh": "firing"}
    probe(fleet, success=2.0)
    await fleet.run(90)
    assert fleet.states() == {}
    pending, firing, resolved = fleet.story("LLMErrorRateHigh")
    assert pending.startswith("LLMErrorRateHigh went from inactive to pending: ")
    assert firing.startswith("LLMErrorRateHigh went from pending to firing: ")
    assert firing.endswith("of requests to chat v1 fail, seen by the probe, for 30s")
    assert resolved.startswith("LLMErrorRateHigh went from firing to inactive: over after firing for ")


async def test_a_hot_gpu_survives_a_restart_of_the_control_plane(fleet: Fleet) -> None:
    gpu: dict[str, Any] = {"node": "a", "gpu": "GPU-1", "instance": "a:9400", "engine": "dcgm"}
    fleet.set("gpu_temperature_celsius", 91.0, **gpu)
    await fleet.run(20)
    assert fleet.states() == {"GPUTemperatureHigh": "pending"}
    fleet.start()
    await fleet.run(15)
    assert fleet.states() == {"GPUTemperatureHigh": "firing"}, "30 s in all, not 30 s since the restart"
    fleet.start()
    await fleet.run(60)
    assert fleet.story("GPUTemperatureHigh") == [
        "GPUTemperatureHigh went from inactive to pending: GPU on a is at 91 °C; it fires when this has lasted 30s",
        "GPUTemperatureHigh went from pending to firing: GPU on a is at 91 °C, for 30s",
    ]


async def test_an_engine_goes_away_and_returns_without_a_verdict_on_what_it_serves(fleet: Fleet) -> None:
    fleet.answers(True, engine="vllm", job="chat-pool", instance="b:8000", model="chat")
    fleet.set("llm_kv_cache_usage_ratio", 0.5, engine="vllm", instance="b:8000", model="chat")
    await fleet.run(30)
    fleet.answers(False, engine="vllm", job="chat-pool", instance="b:8000", model="chat")
    kv = next(s for s in fleet.series if s.name == "llm_kv_cache_usage_ratio")
    del fleet.series[kv], fleet.growth[kv]
    await fleet.run(45)
    assert fleet.states() == {"LLMEngineDown": "firing"}
    fleet.answers(True, engine="vllm", job="chat-pool", instance="b:8000", model="chat")
    await fleet.run(5)
    assert fleet.states() == {}
    assert len(fleet.story("LLMEngineDown")) == 3


async def test_a_model_is_missing_then_down_then_fine(fleet: Fleet) -> None:
    fleet.set("llm_backends_expected", 1.0, model="chat")
    await fleet.run(40)
    assert fleet.states() == {"LLMModelMissing": "firing"}
    fleet.set("llm_backend_ready", 0.0, model="chat", version="v1", backend="b")
    await fleet.run(40)
    assert fleet.states() == {"LLMModelDown": "firing"}
    fleet.set("llm_backend_ready", 1.0, model="chat", version="v2", backend="b")
    await fleet.run(5)
    assert fleet.states() == {}


async def test_an_alert_of_a_rule_that_moved_to_another_pack_goes_on(fleet: Fleet) -> None:
    fleet.answers(False, engine="gateway", job="edge", instance="g:9100")
    fleet.set("llm_budget_spent_usd", 900.0, model="chat")
    fleet.set("llm_budget_prorated_usd", 100.0, model="chat")
    await fleet.run(40)
    before = {"LLMCostOverBudget": "pending", "LLMGatewayDown": "firing"}
    assert fleet.states() == before
    former = {"builtin:gateway;gateway": "builtin:llm;llm-service", "builtin:cost;cost": "builtin:llm;llm-cost"}
    with fleet.db.transaction() as session:  # as an earlier release stored them
        for row in session.exec(select(AlertInstanceRow)):
            group, _, name = row.rule.rpartition(";")
            row.rule = f"{former.get(group, group)};{name}"
            session.add(row)
    fleet.start()
    assert fleet.log.retire(fleet.rules, fleet.at) == []
    began = {dict(i.labels)["alertname"]: i.active_at for i in fleet.log.active()}
    await fleet.run(60)
    assert fleet.states() == before
    assert {dict(i.labels)["alertname"]: i.active_at for i in fleet.log.active()} == began
    assert len(fleet.story("LLMGatewayDown")) == 2, "pending and firing, and neither resolved nor told again"
    assert len(fleet.story("LLMCostOverBudget")) == 1
