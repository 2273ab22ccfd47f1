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

    def charge(self, *usd: float, read_at: float | None = None) -> None:
        """Store what a scrape of the account says: costs of the month by model, and when they were read."""
        at = self.clock.time if read_at is None else read_at
        costs = [account_series("llm_account_cost_usd", window="month", model=f"m{n}") for n in range(len(usd))]
        layout = Layout((*costs, account_series("llm_account_read_timestamp_seconds")))
        self.store.append("openai", layout, round(self.clock.time * 1000), np.array([*usd, at]))

    def query(self, expr: str) -> dict[str, float]:
        value = self.engine.instant(expr, self.clock.time)
        assert isinstance(value, Vector)
        return {_short(sample): sample.value for sample in value.samples}


def _short(sample: VectorSample) -> str:
    return " ".join(v for k, v in sample.labels if k in ("model", "simulated", "account"))


def account_series(name: str, **labels: str) -> Series:
    return Series(name, labels_of({"job": "openai", **labels}))


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


ACCOUNT = """
targets: [{engine: openai, authorization: {credentials_env: KEY}}]
cost: {gpu_hour_usd: 3, budgets: [{account: openai, monthly_usd: 3000}]}
"""
MONTH, DAY_S = 1_793_491_200.0, 86_400.0
"""2026-11-01, and a day. November has 30 of them."""


async def test_an_accounts_charges_are_compared_with_its_budget(db: Database, fleet: Write) -> None:
    bench = await Bench(db, fleet(ACCOUNT)).configured()
    bench.clock.time = MONTH + 10 * DAY_S
    bench.charge(1000.0, 500.0)
    await bench.accounts.publish()

    assert bench.query("llm_budget_spent_usd") == {"openai": 1500.0}
    assert bench.query("llm_budget_limit_usd") == {"openai": 3000.0}
    assert bench.query("llm_budget_prorated_usd") == {"openai": 1000.0}
    assert bench.query("llm_budget_forecast_usd") == {"openai": 4500.0}


async def test_the_last_charges_stand_while_the_provider_does_not_answer(db: Database, fleet: Write) -> None:
    bench = await Bench(db, fleet(ACCOUNT)).configured()
    bench.clock.time = MONTH + 10 * DAY_S
    await bench.accounts.publish()
    assert bench.query("llm_budget_spent_usd") == {}, "not known yet"

    bench.charge(1500.0)
    await bench.accounts.publish()
    bench.clock.time += DAY_S
    await bench.accounts.publish()
    assert bench.query("llm_budget_spent_usd") == {"openai": 1500.0}
    assert bench.query("llm_budget_prorated_usd") == {"openai": 1100.0}


async def test_a_new_month_begins_with_nothing_spent(db: Database, fleet: Write) -> None:
    bench = await Bench(db, fleet(ACCOUNT)).configured()
    bench.clock.time = MONTH + 30 * DAY_S - 10
    bench.charge(2900.0)
    await bench.accounts.publish()
    assert bench.query("llm_budget_spent_usd") == {"openai": 2900.0}

    bench.clock.time = MONTH + 30 * DAY_S + 5
    await bench.accounts.publish()
    assert bench.query("llm_budget_spent_usd / llm_budget_prorated_usd")["openai"] < 1, "still the last month's"

    bench.clock.time += 15
    bench.charge()
    await bench.accounts.publish()
    assert bench.query("llm_budget_spent_usd") == {"openai": 0.0}
    assert bench.query("llm_budget_prorated_usd")["openai"] < 0.1
