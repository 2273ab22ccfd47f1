"""The usage report: requests, GPU hours and cost of each model between two reports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from alerts.interfaces import Notice
from controlplane.cost.reckoning import BudgetReport

MOST_MODELS = 25
"""Models that a report names. Slack cuts a text block at 3,000 characters, and a line takes about 110."""


class LedgerTotal(NamedTuple):
    """Totals of a model's ledger over all months."""

    gpu_seconds: float
    spent_usd: float


@dataclass(frozen=True)
class ModelUsage:
    """One model between two reports. None: unknown."""

    model: str
    requests: float | None
    gpu_hours: float | None
    spent_usd: float | None
    month: BudgetReport | None
    """The model's month so far."""


class Period(NamedTuple):
    """Unix seconds."""

    start: float
    end: float


def usages(
    requests: Mapping[str, float],
    before: Mapping[str, LedgerTotal],
    now: Mapping[str, LedgerTotal],
    months: Iterable[BudgetReport],
) -> list[ModelUsage]:
    """Return the models' usage, the dearest first.

    `requests` are those of the period; `before` and `now` are the ledger's totals at its two ends. A model that the
    ledger did not have before, or whose total is smaller now, has no known GPU hours in the period.
    """
    by_model = {month.model: month for month in months}
    found = []
    for model in sorted({*requests, *now}):
        gpu_hours = spent_usd = None
        old, new = before.get(model), now.get(model)
        if old is not None and new is not None and new.gpu_seconds >= old.gpu_seconds:
            gpu_hours, spent_usd = (new.gpu_seconds - old.gpu_seconds) / 3600, new.spent_usd - old.spent_usd
        found.append(ModelUsage(model, requests.get(model), gpu_hours, spent_usd, by_model.get(model)))
    return sorted(found, key=lambda usage: (-(usage.spent_usd or 0.0), -(usage.requests or 0.0), usage.model))


def usage_notice(fleet: str, period: Period, found: Sequence[ModelUsage], timezone: str) -> Notice:
    """Return the report as people read it, with times of the zone `timezone`."""
    zone = ZoneInfo(timezone)
    start, end = (datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M") for at in period)
    lines = [_line(usage.model, usage) for usage in found[:MOST_MODELS]]
    if len(rest := found[MOST_MODELS:]):
        lines.append(_line(f"{len(rest)} more models", _sum(rest)))
    if len(found) > 1:
        lines.insert(0, _line("All models", _sum(found)))
    text = "\n".join(lines) or "No model had requests, and the ledger has no GPU hours."
    return Notice(f"Usage of {fleet} from {start} to {end} {timezone}", text)


def totals_to_notes(totals: Mapping[str, LedgerTotal]) -> dict[str, list[float]]:
    """Return totals as JSON."""
    return {model: list(total) for model, total in totals.items()}


def totals_from_notes(notes: Any) -> dict[str, LedgerTotal]:
    """Return totals from JSON. What is damaged is left out: those models' GPU hours are unknown once."""
    found = {}
    for model, values in notes.items() if isinstance(notes, dict) else ():
        if isinstance(values, list) and len(values) == 2 and all(isinstance(v, int | float) for v in values):
            found[model] = LedgerTotal(*map(float, values))
    return found


def _sum(found: Sequence[ModelUsage]) -> ModelUsage:
    return ModelUsage(
        "",
        _total(usage.requests for usage in found),
        _total(usage.gpu_hours for usage in found),
        _total(usage.spent_usd for usage in found),
        None,
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _line(name: str, usage: ModelUsage) -> str:
    told = [
        "requests unknown" if usage.requests is None else f"{round(usage.requests):,} requests",
        "GPU hours unknown" if usage.gpu_hours is None else f"{usage.gpu_hours:,.1f} GPU hours",
    ]
    if usage.spent_usd is not None:
        told.append(f"${usage.spent_usd:,.2f}")
    month = usage.month
    if month is None:
        return f"{name}: {', '.join(told)}"
    budget = "" if month.limit is None else f" of ${month.limit:,.2f}"
    forecast = "" if month.forecast is None else f", ${month.forecast:,.2f} expected"
    return f"{name}: {', '.join(told)}; {month.month} so far ${month.spent:,.2f}{budget}{forecast}"
