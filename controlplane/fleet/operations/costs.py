"""The month's cost as people see it: budgets of models and accounts, and what idle GPUs cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from alerts.interfaces import VectorSample
from controlplane.config.model import Fleet
from controlplane.cost.reckoning import BudgetReport, month_of
from controlplane.fleet.view import View, finite, instant

IDLE_BELOW = 0.05
"""Mean utilization of an hour below which a GPU is idle. Chosen: drivers report a few percent for an engine at rest."""
ACCOUNTS = 'max by (account, __name__) ({__name__=~"llm_budget_(spent|limit|prorated|forecast)_usd", account!=""})'
"""Budgets of accounts at providers. Those of models are read from the ledger."""
GPUS = "max by (node, gpu) (avg_over_time(gpu_utilization_ratio[1h]))"
BudgetState = Literal["over", "ahead", "good", "none", "unknown"]


class BudgetView(View):
    """The month of a model or of an account so far, in US dollars. null: no budget, or nothing is known."""

    kind: Literal["model", "account"]
    name: str
    spent_usd: float | None
    limit_usd: float | None
    prorated_usd: float | None
    """The part of the budget for the observed part of the month."""
    forecast_usd: float | None
    """Expected at the month's end; an estimate."""
    observed_seconds: float | None
    unobserved_seconds: float | None
    """Time of the month in which the number of GPUs was not known. It is not charged."""
    state: BudgetState
    """over: more than the budget is spent. ahead: the forecast is above it. none: no budget is set. unknown: what was
    spent is not known."""


class CostView(View):
    """The month's cost so far."""

    generated_at: str
    month: str
    """Calendar month in UTC, as 2026-11."""
    month_start: str
    month_end: str
    gpu_hour_usd: float | None
    """Price of a GPU for an hour; null: fleet.yaml has no `cost:`, so GPUs are not charged."""
    budgets: tuple[BudgetView, ...]
    gpus: int | None
    """GPUs that report their utilization."""
    idle_gpus: int | None
    """GPUs whose mean utilization of the last hour is below 5 %."""
    idle_usd_per_hour: float | None
    """An estimate: their number at the price of a GPU's hour."""
    unpriced_models: tuple[str, ...]
    """Models whose tokens have no price (`gateway.price`), so that their usage has no cost."""


def cost_view(
    fleet: Fleet,
    reports: Iterable[BudgetReport],
    accounts: Sequence[VectorSample],
    gpus: Sequence[VectorSample] | None,
    now: float,
) -> CostView:
    """Return the view. `reports` are those of the ledger, `gpus` the mean utilizations; None: they are unknown."""
    month = month_of(now)
    price = None if fleet.cost is None else fleet.cost.gpu_hour_usd
    means = [value for sample in gpus or () if (value := finite(sample.value)) is not None]
    idle = sum(value < IDLE_BELOW for value in means) if means else None
    budgets = [*(_of_model(report) for report in reports), *_of_accounts(accounts)]
    return CostView(
        generated_at=instant(now),
        month=month.name,
        month_start=instant(month.start),
        month_end=instant(month.end),
        gpu_hour_usd=price,
        budgets=tuple(sorted(budgets, key=lambda b: (-(b.spent_usd or 0.0), b.name))),
        gpus=len(means) if means else None,
        idle_gpus=idle,
        idle_usd_per_hour=None if idle is None or price is None else idle * price,
        unpriced_models=tuple(model.name for model in fleet.models if model.gateway.price is None),
    )


def _of_model(report: BudgetReport) -> BudgetView:
    return BudgetView(
        kind="model",
        name=report.model,
        spent_usd=report.spent,
        limit_usd=report.limit,
        prorated_usd=report.prorated,
        forecast_usd=report.forecast,
        observed_seconds=report.observed_seconds,
        unobserved_seconds=report.unobserved_seconds,
        state=_state(report.spent, report.limit, report.forecast),
    )


def _of_accounts(samples: Sequence[VectorSample]) -> list[BudgetView]:
    found: dict[str, dict[str, float]] = {}
    for sample in samples:
        labels, value = dict(sample.labels), finite(sample.value)
        if value is not None and labels.get("account"):
            found.setdefault(labels["account"], {})[labels.get("__name__", "")] = value
    views = []
    for account, values in sorted(found.items()):
        spent, limit, prorated, forecast = (
            values.get(f"llm_budget_{name}_usd") for name in ("spent", "limit", "prorated", "forecast")
        )
        views.append(
            BudgetView(
                kind="account",
                name=account,
                spent_usd=spent,
                limit_usd=limit,
                prorated_usd=prorated,
                forecast_usd=forecast,
                observed_seconds=None,
                unobserved_seconds=None,
                state=_state(spent, limit, forecast),
            )
        )
    return views


def _state(spent: float | None, limit: float | None, forecast: float | None) -> BudgetState:
    if limit is None:
        return "none"
    if spent is None:
        return "unknown"
    if spent > limit:
        return "over"
    return "ahead" if forecast is not None and forecast > limit else "good"
