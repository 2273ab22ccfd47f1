"""Explanations of alerts: the way to each notifier, deliveries, and what changed around the alert's start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from alerts.dispatch import Leg, explain
from alerts.interfaces import AlertInstance
from controlplane.fleet.alerting.pipeline import Pipeline
from controlplane.fleet.alerting.sightings import Queries, Sighting, sightings
from controlplane.fleet.assemble import alert_view
from controlplane.fleet.history import History, HistoryItem
from controlplane.fleet.holding.views import HeldBackView, held_back_views
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.fleet.views import AlertView
from controlplane.store.alert_log import AlertEvent
from controlplane.store.outbox import OutboxEntry, OutboxStore

BEFORE_S, AFTER_S = 1800.0, 300.0
"""Span around an alert's start in which changes are shown. Chosen: rollouts and throttling act within half an hour."""
MAX_CHANGES = 50
SHARED = ("model", "node", "gpu", "instance", "rollout")
"""Labels that tie another alert to this one."""

NO_CAUSE = ("token.", "key.", "alert.", "silence.")
"""Begin of the names of acts that cannot change how the fleet serves."""


class DeliveryView(View):
    """The outcome of the group's last message."""

    id: str
    status: str
    attempts: int
    at: str
    """Time at which it was sent or given up; of a message that waits, the time at which it was queued."""
    next_at: str | None
    """Time of the next attempt, if it is tried again."""
    error: str | None
    """Error of the last failed attempt; for a sent message, the change that was needed to deliver it."""


class LegView(View):
    """The way of an alert to one notifier."""

    stage: str
    """`not firing`, `unrouted`, `no notifier`, `time interval`, `inhibition`, `silence`, `acknowledgement`, `rota`,
    `storm`, `flapping`, `opening`, `waiting`, `underway`, `given up`, `sent` or `over`."""
    sentence: str
    route: str
    """Place in the tree of routes; empty when no route takes the alert."""
    line: int
    """Line of the route in an `alertmanager.yml`; 0 for routes of fleet.yaml."""
    receiver: str
    notifier: str
    group: str
    mutes: tuple[HeldBackView, ...]
    """All reasons that hold the alert back there."""
    due_at: str | None
    """Time of the next message that may have it."""
    delivery: DeliveryView | None


class ChangeView(View):
    """One change around an alert's start."""

    at: str
    kind: Literal["alert", "rollout", "audit", "target", "gpu"]
    subject: str
    """The alert's name, the model, the subject of the act, the target or the GPU."""
    ref: str
    """The alert's fingerprint, the rollout's id, or the actor; empty for targets and GPUs."""
    what: str
    """The alert's new state, the rollout's phase, the act (`token.create`), or `appeared`, `disappeared`, `down`, `up`,
    `error`, `throttled`."""
    sentence: str


class ExplanationView(View):
    """Why an alert was sent, or was not."""

    alert: AlertView
    at: str
    legs: tuple[LegView, ...]
    changes: tuple[ChangeView, ...]
    """Events from half an hour before the alert's start to five minutes after it: rollouts of its model, changes of the
    configuration and other acts, other alerts with one of its labels model, node, gpu, instance, targets that came or
    went, and errors and throttling of GPUs on its node."""
    metrics_fault: str | None = None
    """Why changes of targets and GPUs could not be read; null when they could."""


class Explanations:
    """Explains alerts. Raises Unavailable."""

    def __init__(
        self,
        pipeline: Pipeline,
        outbox: OutboxStore,
        history: History,
        now: Callable[[], float],
        queries: Queries,
    ) -> None:
        self._pipeline, self._outbox, self._history, self._now = pipeline, outbox, history, now
        self._queries = queries

    async def explained(self, instance: AlertInstance) -> ExplanationView:
        """Return the explanation of an alert, with the changes that the stored series show. Does not block."""
        start = instance.active_at
        until = min(start + AFTER_S, self._now())
        found, seen = await asyncio.gather(
            asyncio.to_thread(self.of, instance), sightings(self._queries, instance, start - BEFORE_S, until)
        )
        # Times have one format, whose texts sort as the times do.
        changes = sorted((*found.changes, *map(_sighted, seen.found)), key=lambda change: change.at)
        return found.model_copy(update={"changes": tuple(changes[-MAX_CHANGES:]), "metrics_fault": seen.fault or None})

    def of(self, instance: AlertInstance) -> ExplanationView:
        """Return the explanation of an alert, active or resolved, from the database alone. Blocking."""
        at = self._now()
        legs = explain(self._pipeline.stages(), self._pipeline.read(), instance, at)
        return ExplanationView(
            alert=alert_view(instance),
            at=instant(at),
            legs=tuple(self._leg(leg) for leg in legs),
            changes=tuple(ChangeView(**item.model_dump()) for item in self._changes(instance)),
        )

    def _leg(self, leg: Leg) -> LegView:
        entry = self._outbox.get(leg.message) if leg.message else None
        return LegView(
            stage=leg.stage,
            sentence=leg.sentence,
            route=leg.route,
            line=leg.line,
            receiver=leg.receiver,
            notifier=leg.notifier,
            group=leg.group,
            mutes=held_back_views(leg.mutes),
            due_at=rfc3339(leg.due_at),
            delivery=None if entry is None else _delivery(entry),
        )

    def _changes(self, instance: AlertInstance) -> list[HistoryItem]:
        start = instance.active_at
        own = {pair for pair in instance.labels if pair[0] in SHARED}
        model = dict(own).get("model")

        def related(other: AlertEvent) -> bool:
            return other.fingerprint != instance.fingerprint and bool(own & set(other.instance.labels))

        def concerns(item: HistoryItem) -> bool:
            if item.kind == "rollout":
                return model is None or item.subject == model
            return item.kind == "alert" or not item.what.startswith(NO_CAUSE)

        found = self._history.between(start - BEFORE_S, start + AFTER_S, 10 * MAX_CHANGES, related)
        return [item for item in found if concerns(item)][-MAX_CHANGES:]


def _sighted(one: Sighting) -> ChangeView:
    at = instant(one.at)
    return ChangeView(at=at, kind=one.kind, subject=one.subject, ref="", what=one.what, sentence=one.sentence)


def _delivery(entry: OutboxEntry) -> DeliveryView:
    return DeliveryView(
        id=entry.message_id,
        status=entry.progress,
        attempts=entry.attempts,
        at=instant(entry.finished_at or entry.created_at),
        next_at=rfc3339(entry.next_attempt_at) if entry.progress == "retrying" else None,
        error=entry.remark,
    )
