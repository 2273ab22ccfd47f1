"""Reads the fleet: queries all sources in parallel, caches the snapshot for a second, and assembles views from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from alerts.interfaces import AlertState, Clock, VectorSample
from collectors.target import TargetHealth
from controlplane.config.model import Fleet
from controlplane.errors import ControlPlaneError, NotFound, Unavailable
from controlplane.fleet import assemble
from controlplane.fleet.assemble import ModelFacts
from controlplane.fleet.models import engines_not_ready, model_facts, newest
from controlplane.fleet.numbers import MIN_WINDOW_S, Numbers, queries, read
from controlplane.fleet.rollouts import attention_view
from controlplane.fleet.view import instant
from controlplane.fleet.views import AlertCounts, AttentionView, FleetView, ModelView, TargetView
from controlplane.metrics.promql.values import QueryValue, Vector
from controlplane.rollout.attention import Attention
from controlplane.rollout.reporting.reader import ModelStatus
from controlplane.rollout.stored.recorded import RecordedRollout
from controlplane.store.stored import UnreadRow

CACHE_S = 1.0
"""Seconds for which a snapshot is used. Chosen: 50 browsers that refresh at once cost one round of queries."""
ROLLOUTS = 50
"""Number of newest rollouts that are searched for each model's newest one. Chosen."""
UNREAD_SHOWN = 5
"""Maximum number of unreadable rows with a warning each. One more warning counts the rest. Chosen."""

T = TypeVar("T")


class Queries(Protocol):
    """Ad-hoc PromQL. It never delays the evaluation of rules. Raises QueryError."""

    async def instant_value(self, expr: str, at: float) -> QueryValue:
        """Evaluate at unix second `at`."""
        ...


class ModelSource(Protocol):
    """The models' versions, observed backends and rollouts. Raises ControlPlaneError."""

    async def models(self) -> Sequence[ModelStatus]:
        """Return every model as last observed."""
        ...

    async def list(self, model: str | None = None, limit: int = 50) -> Sequence[RecordedRollout]:
        """Return rollouts, newest first."""
        ...

    def attention(self) -> Sequence[Attention]:
        """Return the rollouts that need attention. Blocking."""
        ...


class AlertSource(Protocol):
    """The alerts."""

    def counts(self) -> Mapping[AlertState, int]:
        """Count firing and pending alerts. Blocking; called in a thread. Raises ControlPlaneError."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """The results of all sources at one instant (`at`, unix seconds)."""

    at: float
    numbers: Numbers
    models: tuple[ModelFacts, ...]
    alerts: Mapping[AlertState, int] | None
    """None when the alert store cannot be read."""
    warnings: tuple[str, ...]
    attention: tuple[AttentionView, ...] = ()


class FleetReader:
    """The read model behind the API and the console. A source that fails causes nulls and a warning, not an error."""

    def __init__(
        self,
        *,
        config: Callable[[], Fleet],
        queries: Queries,
        models: ModelSource,
        alerts: AlertSource,
        targets: Callable[[], Sequence[TargetHealth]],
        clock: Clock,
        observe_only: bool,
        unread: Callable[[], Sequence[UnreadRow]],
        gateways: Callable[[], Sequence[AttentionView]] = tuple,
    ) -> None:
        """`unread` returns stored rows that cannot be read, `gateways` those that need attention. Both may block."""
        self._unread, self._gateways = unread, gateways
        self._config, self._queries, self._models, self._alerts = config, queries, models, alerts
        self._targets, self._clock, self.observe_only = targets, clock, observe_only
        self._lock = asyncio.Lock()
        self._cached: Snapshot | None = None
        self._read_at = float("-inf")
        self._changes = self._begun_at = 0
        """Number of calls of `forget` so far, and when the cached reading began."""

    async def fleet(self) -> FleetView:
        """Return the whole fleet."""
        snapshot = await self._snapshot()
        return FleetView(
            name=self._config().fleet.name,
            generated_at=instant(snapshot.at),
            models=self._model_views(snapshot),
            targets=assemble.target_counts(self._targets()),
            alerts=_alert_counts(snapshot),
            gpus=assemble.gpu_views(snapshot.numbers, [m.name for m in self._config().models], self._targets()),
            attention=snapshot.attention,
            observe_only=self.observe_only,
            warnings=snapshot.warnings,
        )

    async def models(self) -> tuple[ModelView, ...]:
        """Return every model. Raises Unavailable when the models cannot be read: an empty list would mean no models."""
        snapshot = await self._snapshot()
        if not snapshot.models and self._config().models:
            raise Unavailable("; ".join(snapshot.warnings) or "the models cannot be read now; try again")
        return self._model_views(snapshot)

    async def model(self, name: str) -> ModelView:
        """Return one model. Raises NotFound and Unavailable."""
        views = {view.name: view for view in await self.models()}
        if name not in views:
            known = ", ".join(views) or "none"
            raise NotFound(f"model {name!r} is not in fleet.yaml; its models: {known}")
        return views[name]

    def targets(self) -> tuple[TargetView, ...]:
        """Return every scraped endpoint."""
        return tuple(assemble.target_view(t) for t in self._targets())

    def forget(self) -> None:
        """Note a change: the next call gets a reading that begins after it."""
        self._changes += 1

    def _model_views(self, snapshot: Snapshot) -> tuple[ModelView, ...]:
        window = max(MIN_WINDOW_S, 4 * self._config().scrape.interval)
        return tuple(
            assemble.model_view(facts, snapshot.numbers, now=snapshot.at, window_s=window) for facts in snapshot.models
        )

    async def _snapshot(self) -> Snapshot:
        asked = self._changes  # a reading that began later has all that the caller knows of
        async with self._lock:
            now = self._clock.now()
            if self._cached is not None and self._begun_at >= asked and 0 <= now - self._read_at < CACHE_S:
                return self._cached
            begun_at = self._changes
            self._cached = await self._read(now)
            # The time after the reading: those who waited for a slow one share it.
            self._begun_at, self._read_at = begun_at, self._clock.now()
            return self._cached

    async def _read(self, now: float) -> Snapshot:
        warnings: list[str] = []
        numbers, models, alerts, needs, unread, gateways = await asyncio.gather(
            self._numbers(now),
            _attempt("models", self._facts(now), warnings),
            _attempt("alerts", asyncio.to_thread(self._alerts.counts), warnings),
            _attempt("rollouts", asyncio.to_thread(self._models.attention), warnings),
            _attempt("database", asyncio.to_thread(self._unread), warnings),
            _attempt("gateways", asyncio.to_thread(self._gateways), warnings),
        )
        return Snapshot(
            at=now,
            numbers=numbers,
            models=tuple(models or ()),
            alerts=alerts,
            warnings=(*numbers.warnings, *warnings, *_unread_rows(unread or ())),
            attention=(*map(attention_view, needs or ()), *engines_not_ready(models or (), numbers), *(gateways or ())),
        )

    async def _facts(self, now: float) -> list[ModelFacts]:
        statuses, rollouts = await self._models.models(), await self._models.list(limit=ROLLOUTS)
        latest = newest([recorded.rollout for recorded in rollouts])
        sections = {section.name: section for section in self._config().models}
        simulated = assemble.simulated_versions(self._targets())
        none = frozenset[str]()
        return [
            model_facts(sections[status.name], status, latest.get(status.name), simulated.get(status.name, none), now)
            for status in statuses
            if status.name in sections
        ]

    async def _numbers(self, now: float) -> Numbers:
        asked = queries(self._config().scrape.interval)
        answers = await asyncio.gather(*(self._query(expr, now) for expr in asked.values()))
        results = {name: answer for name, answer in zip(asked, answers, strict=True) if not isinstance(answer, str)}
        failed = [f"{name}: {answer}" for name, answer in zip(asked, answers, strict=True) if isinstance(answer, str)]
        return read(results, failed)

    async def _query(self, expr: str, now: float) -> Sequence[VectorSample] | str:
        try:
            value = await self._queries.instant_value(expr, now)
        except ControlPlaneError as error:
            return str(error)
        assert isinstance(value, Vector)  # every query in numbers.queries is an aggregation
        return value.samples


def _unread_rows(rows: Sequence[UnreadRow]) -> list[str]:
    words = [f"database: a row of {row.table} cannot be read: {row.key} ({row.reason})" for row in rows[:UNREAD_SHOWN]]
    if len(rows) > UNREAD_SHOWN:
        words.append(f"database: {len(rows) - UNREAD_SHOWN} more rows cannot be read; the log names them")
    return words


async def _attempt(what: str, reading: Awaitable[T], warnings: list[str]) -> T | None:
    try:
        return await reading
    except ControlPlaneError as error:
        warnings.append(f"{what}: {error}")
        return None


def _alert_counts(snapshot: Snapshot) -> AlertCounts | None:
    return None if snapshot.alerts is None else assemble.alert_counts(snapshot.alerts)
