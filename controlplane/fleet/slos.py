"""Service level objectives as people see them: error budgets, read from the series that `builtin:slo` records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from alerts.interfaces import Clock
from alerts.packs.slos import Slo
from controlplane.config.model import Fleet
from controlplane.fleet.slo_config import configured_slos
from controlplane.fleet.view import View, finite, instant, rfc3339
from controlplane.metrics.promql.values import QueryValue, Vector

WHOLE = 0.95
"""Share of the window from which on its history counts as whole. Chosen: a restart loses a few minutes."""
SERIES = {
    "remaining": "slo:error_budget:remaining_ratio",
    "errors": "slo:error_ratio",
    "observed": "slo:observed_seconds",
    "burn": "slo:burn_rate1h",
}
"""Recorded series of each number. The budget's series are recorded every five minutes."""
LOOK_BACK = "15m"
"""Age up to which a number is shown: three of the budget's evaluations."""

State = Literal["unknown", "learning", "good", "burning", "spent"]


class Queries(Protocol):
    """Ad-hoc PromQL. Raises QueryError."""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`."""
        ...


class SloView(View):
    """One objective of a model, and what is left of its error budget. Null is unknown."""

    model: str
    name: str
    objective_percent: float
    window_seconds: float
    meaning: str
    """Words for a good request."""
    metric: Literal["availability", "ttft", "e2e"]
    below_seconds: float | None
    state: State
    """unknown: no requests were recorded. learning: less than the window is recorded. burning: the budget will be spent
    at the present rate. spent: nothing is left. Otherwise good."""
    budget_remaining_ratio: float | None = None
    """1: the whole budget; 0: nothing; below 0: more than the budget was spent."""
    error_ratio: float | None = None
    """Share of bad requests in the recorded part of the window."""
    burn_rate: float | None = None
    """Bad requests of the last hour as a multiple of the rate that uses up the budget exactly in the window."""
    observed_seconds: float = 0.0
    """Recorded part of the window."""
    exhausted_at: str | None = None
    """When the budget is spent at the present burn rate. Null: not at this rate, or unknown."""


class SloList(View):
    """The objectives of every model, in the order of fleet.yaml."""

    generated_at: str
    items: tuple[SloView, ...]


class SloReader:
    """Reads the objectives. It asks four queries, whatever their number."""

    def __init__(self, config: Callable[[], Fleet], queries: Queries, clock: Clock) -> None:
        self._config, self._queries, self._clock = config, queries, clock

    async def slos(self, model: str | None = None) -> SloList:
        """Return the objectives of every model, or of one. Raises QueryError."""
        now = self._clock.now()
        wanted = [slo for slo in configured_slos(self._config()) if model in (None, slo.model)]
        names = tuple(SERIES) if wanted else ()
        results = await asyncio.gather(*(self._read(SERIES[name], now) for name in names))
        found = dict(zip(names, results, strict=True))
        return SloList(generated_at=instant(now), items=tuple(slo_view(slo, found, now) for slo in wanted))

    async def _read(self, series: str, now: float) -> Mapping[tuple[str, str], float]:
        value = await self._queries.instant_value(f"max by (model, slo) (last_over_time({series}[{LOOK_BACK}]))", now)
        samples = value.samples if isinstance(value, Vector) else ()
        numbers = {}
        for sample in samples:
            labels = dict(sample.labels)
            if (number := finite(sample.value)) is not None:
                numbers[labels.get("model", ""), labels.get("slo", "")] = number
        return numbers


def slo_view(slo: Slo, numbers: Mapping[str, Mapping[tuple[str, str], float]], now: float) -> SloView:
    """Return an objective with its numbers. `numbers` has the names of SERIES, and then (model, slo)."""
    remaining, errors, observed, burn = (numbers.get(name, {}).get((slo.model, slo.name)) for name in SERIES)
    return SloView(
        model=slo.model,
        name=slo.name,
        objective_percent=round(slo.objective * 100, 10),
        window_seconds=slo.window_s,
        meaning=slo.meaning,
        metric=slo.metric or "availability",
        below_seconds=slo.below_s if slo.metric else None,
        state=_state(slo, remaining, observed, burn),
        budget_remaining_ratio=remaining,
        error_ratio=errors,
        burn_rate=burn,
        observed_seconds=min(observed or 0.0, slo.window_s),
        exhausted_at=rfc3339(_exhausted(slo, remaining, burn, now)),
    )


def _state(slo: Slo, remaining: float | None, observed: float | None, burn: float | None) -> State:
    if remaining is None or not observed:
        return "unknown"
    if remaining <= 0:
        return "spent"
    if burn is not None and burn > 1:
        return "burning"
    return "good" if observed >= WHOLE * slo.window_s else "learning"


def _exhausted(slo: Slo, remaining: float | None, burn: float | None, now: float) -> float | None:
    # At a rate of 1 or less, old errors leave the window as fast as new ones come.
    if remaining is None or burn is None or remaining <= 0 or burn <= 1:
        return None
    return now + remaining * slo.window_s / burn
