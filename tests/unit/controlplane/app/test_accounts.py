"""Budgets and expected backends as series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from alerts.interfaces import VectorSample
from collectors.samples import Layout, Series, labels_of
from controlplane.app.parts.accounts import Accounts
from controlplane.app.parts.part import Configuration
from controlplane.config.loader import LoadedFleet
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.store.database import Database
from controlplane.store.lease import Lease, LeaseStore

Write = Callable[[str], LoadedFleet]
START = 1_795_000_000.0

FLEET = """
models:
  - name: chat
    stable: v1
    traffic: {driver: none}
    versions:
      v1: {backends: [{url: "http://a:8000", engine: vllm, gpus: 2, labels: {simulated: "true"}}]}
      v2: {backends: [{url: "http://b:8000/", engine: vllm, gpus: 4, labels: {simulated: "true"}}]}
  - name: real
    stable: v1
    traffic: {driver: triton, backends: [{url: "http://t:8000"}]}
    versions: {v1: {}}
cost: {gpu_hour_usd: 3, budgets: [{model: chat, monthly_usd: 7200}]}
"""


class Clock:
    time = START

    def now(self) -> float:
        return self.time


class Bench:
    def __init__(self, db: Database, loaded: LoadedFleet) -> None:
        self.clock, self.store = Clock(), SeriesStore()
        self.engine = PromqlEngine(self.store)
        self.accounts = Accounts(db, MetricsQuerier(self.engine), self.store, self.clock)
        self._loaded = loaded

    async def configured(self) -> Bench:
        settings = self.accounts.settings(Configuration(self._loaded, "127.0.0.1:8080"))
        await self.accounts.configure(settings)
        return self

    def ready(self, **backends: float) -> None:
        series = [
            Series("llm_backend_ready", labels_of({"model": "chat", "version": v, "backend": f"http://{h}:8000"}))
            for h, v in (("a", "v1"), ("b", "v2"))
        ]
        values = np.array([backends["a"], backends["b"]])
        self.store.append("readiness", Layout(tuple(series)), round(self.clock.time * 1000), values)

    def query(self, expr: str) -> dict[str, float]:
        value = self.engine.instant(expr, self.clock.time)
        assert isinstance(value, Vector)
        return {_short(sample): sample.value for sample in value.samples}


def _short(sample: VectorSample) -> str:
    return " ".join(v for k, v in sample.labels if k in ("model", "simulated"))


@pytest.fixture
def lease(db: Database) -> Lease:
    found = LeaseStore(db).acquire("ledger", "one", 600.0)
    assert found is not None
    return found


async def test_expected_backends_come_from_the_configuration(db: Database, fleet: Write) -> None:
    bench = await Bench(db, fleet(FLEET)).configured()
    await bench.accounts.publish()
    assert bench.query("llm_backends_expected") == {"chat true": 2.0, "real": 1.0}


async def test_a_model_is_charged_for_the_gpus_of_its_ready_backends(db: Database, fleet: Write, lease: Lease) -> None:
    bench = await Bench(db, fleet(FLEET)).configured()
    bench.ready(a=1, b=0)
    await bench.accounts.charge(lease)
    bench.clock.time += 120
    bench.ready(a=1, b=1)
    await bench.accounts.charge(lease)
    await bench.accounts.publish()
    # 6 GPUs for 120 s at 3 USD an hour: what is seen at the end of an interval is charged for it.
    assert bench.query("llm_budget_spent_usd")["chat"] == pytest.approx(6 * 120 / 3600 * 3)
    assert bench.query("llm_budget_limit_usd")["chat"] == 7200


async def test_where_no_backend_said_anything_the_time_is_unobserved_and_not_free_of_charge(
    db: Database, fleet: Write, lease: Lease
) -> None:
    bench = await Bench(db, fleet(FLEET)).configured()
    await bench.accounts.charge(lease)
    bench.clock.time += 120
    await bench.accounts.charge(lease)
    await bench.accounts.publish()
    assert bench.query("llm_budget_forecast_usd") == {}


async def test_without_costs_nothing_is_kept(db: Database, fleet: Write, lease: Lease) -> None:
    bench = await Bench(db, fleet("")).configured()
    await bench.accounts.charge(lease)
    await bench.accounts.publish()
    assert bench.query('{__name__=~"llm_.+"}') == {}
