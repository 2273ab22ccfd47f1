"""Evidence of a candidate: requests counted by version, and alerts that fire on it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from alerts.interfaces import AlertInstance, AlertState
from controlplane.errors import ControlPlaneError
from controlplane.metrics.promql.values import QueryValue, Vector
from controlplane.rollout.model import Evidence, Rollout

SOURCES = ("gateway", "probe", "engine")
"""Sources of request counts, the nearest to the client first. The first that counted any is used."""
FAILED = frozenset({"error", "timeout", "rejected", "cut"})
"""Outcomes that a client sees as a failure. A request that the client itself aborted is not among them."""
LOOK_S = 2.0
"""Deadline of one reading, in seconds. A slow metrics server must not delay a rollout. Chosen."""
COUNT_S, FORGET_S = 5.0, 60.0
"""Seconds until requests are counted again, and until a count is forgotten. Chosen: counters change with a scrape."""
_SILENT = "none"
"""Severity of alerts that report no fault (Watchdog)."""


class Queries(Protocol):
    """Ad-hoc PromQL. Raises QueryError and other errors of the control plane."""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`."""
        ...


class Alerts(Protocol):
    """The alerts. Blocking; raises ControlPlaneError."""

    def active(self, state: AlertState | None = None, limit: int = ...) -> list[AlertInstance]:
        """Return the alerts in a state."""
        ...


class EvidenceReader:
    """Reads the evidence on candidates. Never raises: `Evidence.unknown` says why nothing could be read.

    With many models rolling, requests are counted again only every COUNT_S seconds, and alerts are read once a tick.
    """

    def __init__(self, queries: Queries, alerts: Alerts) -> None:
        self._queries, self._alerts = queries, alerts
        self._counted: dict[tuple[str, str, float], tuple[float, Evidence]] = {}
        self._firing: tuple[float, asyncio.Task[list[AlertInstance]]] | None = None

    async def read(self, rollout: Rollout, since: float, now: float) -> Evidence:
        """Return the requests counted, and the alerts that began to fire, between unix seconds `since` and `now`."""
        model, version = rollout.model, rollout.plan.to_version
        try:
            async with asyncio.timeout(LOOK_S):
                alerts = await asyncio.shield(self._alerts_at(now))
                counted = await self._counts(model, version, since, now)
        except TimeoutError:
            return Evidence(unknown=f"they could not be read within {LOOK_S:g} s")
        except ControlPlaneError as error:
            return Evidence(unknown=str(error))
        named = frozenset(rollout.plan.options.rollback_on)
        new = [alert for alert in alerts if dict(alert.labels).get("model") == model and _began(alert, since)]
        mine = [alert for alert in new if dict(alert.labels).get("version") == version]
        others = [alert for alert in new if alert not in mine and dict(alert.labels).get("alertname") in named]
        return replace(counted, alerts=tuple(map(_said, mine)), called_off_by=tuple(map(_said, others)))

    def _alerts_at(self, now: float) -> asyncio.Task[list[AlertInstance]]:
        """Return the reading of the alerts at a tick. All models of the tick share it."""
        if self._firing is None or self._firing[0] != now:
            reading = asyncio.create_task(asyncio.to_thread(self._alerts.active, AlertState.FIRING))
            self._firing = now, reading
        return self._firing[1]

    async def _counts(self, model: str, version: str, since: float, now: float) -> Evidence:
        """Return the requests counted. Raises QueryError and other errors of the control plane."""
        key = model, version, since
        known = self._counted.get(key)
        if known is not None and 0.0 <= now - known[0] < COUNT_S:
            return known[1]
        counts = await self._vector(grown("llm_requests_total", "source, outcome", model, version, since), now)
        sums, of = await asyncio.gather(
            self._vector(grown("llm_request_duration_seconds_sum", "source", model, version, since), now),
            self._vector(grown("llm_request_duration_seconds_count", "source", model, version, since), now),
        )
        found = evidence(counts, sums, of)
        self._counted = {k: v for k, v in self._counted.items() if abs(now - v[0]) < FORGET_S}
        self._counted[key] = now, found
        return found

    async def _vector(self, expr: str, at: float) -> Sequence[tuple[Mapping[str, str], float]]:
        value = await self._queries.instant_value(expr, at)
        assert isinstance(value, Vector)  # every query of this class is an aggregation
        return [(dict(sample.labels), sample.value) for sample in value.samples]


def grown(metric: str, by: str, model: str, version: str, since: float) -> str:
    """Return PromQL for the growth of a counter since unix second `since`.

    increase() would miss the first value: a candidate's counters begin with the candidate. A counter without a sample
    at `since` counts from 0.
    """
    chosen = f'{metric}{{model="{model}",version="{version}"}}'
    now = f"sum by ({by}) ({chosen})"
    return f"{now} - (sum by ({by}) ({chosen} @ {since:.3f}) or 0 * {now})"


def evidence(
    counts: Sequence[tuple[Mapping[str, str], float]],
    sums: Sequence[tuple[Mapping[str, str], float]],
    of: Sequence[tuple[Mapping[str, str], float]],
) -> Evidence:
    """Join query results. Where several sources counted requests, the first of SOURCES is used."""
    by_source: dict[str, dict[str, float]] = {}
    for labels, value in counts:
        # A negative growth means that the counter was reset in between. A request that did not fit says nothing about
        # the version: it neither verifies it nor counts against it.
        if math.isfinite(value) and value > 0 and labels.get("outcome") != "invalid":
            by_source.setdefault(labels.get("source", ""), {})[labels.get("outcome", "")] = value
    source = next((s for s in SOURCES if s in by_source), "")
    if not source:
        return Evidence()
    outcomes = by_source[source]
    total, number = _of(sums, source), _of(of, source)
    return Evidence(
        requests=sum(outcomes.values()),
        failed=sum(value for outcome, value in outcomes.items() if outcome in FAILED),
        source=source,
        mean_s=total / number if total is not None and number else None,
    )


def _of(samples: Sequence[tuple[Mapping[str, str], float]], source: str) -> float | None:
    return next((value for labels, value in samples if labels.get("source") == source and value > 0), None)


def _began(alert: AlertInstance, since: float) -> bool:
    """Return whether an alert reports a fault that began after unix second `since`."""
    return dict(alert.labels).get("severity") != _SILENT and (alert.fired_at or 0.0) >= since


def _said(alert: AlertInstance) -> str:
    summary = dict(alert.annotations).get("summary", "")
    return f"{dict(alert.labels).get('alertname', '?')}{f' ({summary})' if summary else ''}"
