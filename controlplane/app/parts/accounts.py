"""Series that the control plane writes about itself and its configuration: budgets and expected backends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alerts.interfaces import Clock
from collectors.samples import Layout, SampleSink, Series, labels_of
from controlplane.app.parts.part import Configuration, Part
from controlplane.config.model import Cost
from controlplane.config.models import ModelSection
from controlplane.config.traffic.base import Backend
from controlplane.cost import CostLedger, account_report, budget_samples, month_of
from controlplane.errors import QueryError
from controlplane.metrics.promql.values import Vector
from controlplane.metrics.query.queries import Queries
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.database import Database
from controlplane.store.lease import Lease

READY = "max by (model, version, backend) (llm_backend_ready)"
CHARGED = 'sum by (job) (llm_account_cost_usd{window="month"})'
READ_AT = "max by (job) (llm_account_read_timestamp_seconds)"

CHARGE_S = 30.0
PUBLISH_S = 15.0


class AccountsSettings(NamedTuple):
    """The models with their expected backends, and the prices."""

    models: tuple[ModelSection, ...]
    cost: Cost | None


class _Charged(NamedTuple):
    month: str
    usd: float


class Accounts(Part[AccountsSettings]):
    """Keeps the cost ledger and writes `llm_budget_*` and `llm_backends_expected`."""

    name = "accounts"

    def __init__(self, db: Database, querier: Queries, sink: SampleSink, clock: Clock) -> None:
        self._db, self._querier, self._sink, self._clock = db, querier, sink, clock
        self._layouts: dict[str, Layout] = {}
        self._charged: dict[str, _Charged] = {}
        """Charges of providers for this month by account, as they were last known."""
        self._settings = AccountsSettings((), None)

    def settings(self, config: Configuration) -> AccountsSettings:
        """Return the models and the prices of a configuration."""
        return AccountsSettings(config.fleet.models, config.fleet.cost)

    async def configure(self, settings: AccountsSettings) -> Sequence[str]:
        """Use these prices from the next charge on."""
        before, self._settings = self._settings, settings
        return () if before.cost == settings.cost else ["GPU time is charged by the new prices and budgets from now on"]

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that charges, in one process at a time, and the loop that writes series, in every process."""
        return [make.leased("ledger", CHARGE_S, self.charge), make.plain("publish", PUBLISH_S, self.publish)]

    async def charge(self, lease: Lease) -> None:
        """Charge the GPU time since the last call, also of another process. Raises LeaseLost."""
        models, cost = self._settings
        if cost is None:
            return
        ledger = CostLedger(self._db, cost)
        now = self._clock.now()
        gpus = await self._gpus_up(models, now)
        await asyncio.to_thread(ledger.tick, now, gpus, lease)

    async def publish(self) -> None:
        """Write the series. Every replica does so, because each evaluates queries over its own store."""
        models, cost = self._settings
        self._write("ledger:expected", [_expected(model) for model in models])
        if cost is not None:
            samples = await asyncio.to_thread(CostLedger(self._db, cost).samples, self._clock.now())
            self._write("ledger:budgets", samples)
            await self._compare_accounts(cost)

    async def _compare_accounts(self, cost: Cost) -> None:
        """Write the budgets of accounts whose charges are known.

        While a provider does not answer, its last charges of the month stand: an alert about them has not ended.
        """
        limits = {budget.account: budget.monthly_usd for budget in cost.budgets if budget.account}
        if not limits:
            return
        now = self._clock.now()
        month = month_of(now)
        self._charged = {name: known for name, known in self._charged.items() if known.month == month.name}
        try:
            charges, read_at = await self._by_job(CHARGED, now), await self._by_job(READ_AT, now)
        except QueryError:
            return
        # Series of the last month are still there for a moment. An account that was read and has no costs has spent 0.
        for job, at in read_at.items():
            if at >= month.start:
                self._charged[job] = _Charged(month.name, charges.get(job, 0.0))
        for account, limit in limits.items():
            if known := self._charged.get(account):
                report = account_report(account, known.usd, limit, now)
                self._write(f"ledger:account/{account}", budget_samples(report, "account"))

    async def _by_job(self, query: str, now: float) -> dict[str, float]:
        value = await self._querier.instant_value(query, now)
        return {dict(s.labels).get("job", ""): s.value for s in value.samples} if isinstance(value, Vector) else {}

    def _write(self, source: str, samples: Sequence[tuple[Series, float]]) -> None:
        series = tuple(s for s, _ in samples)
        layout = self._layouts.get(source)
        if layout is None or layout.raw != series:
            layout = self._layouts[source] = Layout(series)
        # The time is read now and not before the samples: a step of the clock may lie in between.
        at_ms = round(self._clock.now() * 1000)
        self._sink.append(source, layout, at_ms, np.array([v for _, v in samples], dtype=np.float64))

    async def _gpus_up(self, models: Sequence[ModelSection], now: float) -> dict[str, float | None]:
        """Return the number of GPUs of each model's ready backends, by model; None: no backend has reported."""
        try:
            value = await self._querier.instant_value(READY, now)
        except QueryError:
            return {m.name: None for m in models}
        samples = value.samples if isinstance(value, Vector) else ()
        ready: dict[tuple[str, str], bool] = {}
        for sample in samples:
            labels = dict(sample.labels)
            key = (labels.get("model", ""), labels.get("backend", ""))
            ready[key] = ready.get(key, False) or sample.value > 0
        up: dict[str, float | None] = {}
        for model in models:
            answers = [(b.gpus, ready.get((model.name, b.url.rstrip("/")))) for b in _backends(model)]
            known = [gpus if is_up else 0.0 for gpus, is_up in answers if is_up is not None]
            up[model.name] = sum(known) if known else None
        return up


def _expected(model: ModelSection) -> tuple[Series, float]:
    backends = _backends(model)
    labels = {"model": model.name}
    if backends and all(b.labels.get("simulated") == "true" for b in backends):
        labels["simulated"] = "true"
    return Series("llm_backends_expected", labels_of(labels)), float(len(backends))


def _backends(model: ModelSection) -> list[Backend]:
    return [*model.traffic.backends, *(b for version in model.versions.values() for b in version.backends)]
