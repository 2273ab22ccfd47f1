"""The notification log: messages that were sent, are retried, or were given up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from alerts.errors import DeliveryFailed
from alerts.interfaces import AlertInstance, AlertState, Message
from alerts.notify.firing_only import FiringOnly
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.services import ServicesDep
from controlplane.errors import NotFound
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.store.alerting.receipts import Receipts
from controlplane.store.outbox import OutboxEntry, OutboxStatus

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

NOTIFIER = r"^[^\x00-\x1f\x7f]{1,300}$"
"""Name of a notifier. Those of an `alertmanager.yml` may have any characters, such as `team x/slack[1]`."""
TEST_TIMEOUT_S = 15.0
"""Longest wait for a test message, in seconds. Chosen: a person waits for the answer."""


class NotificationView(View):
    """One message to one receiver."""

    id: str
    receiver: str
    status: str
    """queued, retrying, sent, dead, or held after a restoration."""
    summary: str
    attempts: int
    created_at: str
    sent_at: str | None
    next_at: str | None
    """Time of the next attempt; null: none is planned, or the first one is due."""
    error: str | None
    """Error of the last failed attempt. For a sent message: the change that was needed to deliver it."""


class NotificationList(BaseModel):
    """Notifications, newest first."""

    items: tuple[NotificationView, ...]


class NotifierView(View):
    """One notifier, and what became of its stored messages."""

    name: str
    last_sent_at: str | None
    """Time of the last delivery; null: none is stored."""
    waiting: int
    given_up: int


class NotifierList(BaseModel):
    """Notifiers in the order of the configuration."""

    items: tuple[NotifierView, ...]


class NotifierTested(BaseModel):
    """The receiver's answer to a test message."""

    result: str


@router.get("/cp/v1/notifications")
@requires(Role.VIEWER)
def notifications(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> NotificationList:
    """List the newest notifications."""
    return NotificationList(items=tuple(notification_view(e) for e in services.outbox.recent(limit)))


@router.get("/cp/v1/notifiers")
@requires(Role.VIEWER)
def notifiers(services: ServicesDep) -> NotifierList:
    """List the notifiers with their last delivery and the messages that wait or were given up."""
    found = services.outbox.by_receiver()
    views = (_notifier_view(name, found.get(name, Receipts())) for name in services.notifiers())
    return NotifierList(items=tuple(views))


@router.post("/cp/v1/notifiers/{name:path}/test")
@requires(Role.OPERATOR)
async def test_notifier(
    services: ServicesDep, principal: PrincipalDep, name: Annotated[str, Path(pattern=NOTIFIER)]
) -> NotifierTested:
    """Send a test message, without the outbox, and return the receiver's answer. 502: the receiver's error.

    Where the message opens an incident, a second one resolves it.

    Raises NotFound for an unknown notifier. Raises DeliveryFailed when the receiver refuses the message or does not
    answer.
    """
    notifiers = services.notifiers()
    if name not in notifiers:
        raise NotFound(f"there is no notifier {name}; fleet.yaml declares {', '.join(notifiers) or 'none'}")
    now = services.clock.now()
    labels = labels_of({"alertname": "ControlPlaneTest", "severity": "info"})
    summary = f"Test message, sent by {principal.name}. Nothing is wrong."
    alert = AlertInstance("test", labels, (("summary", summary),), AlertState.FIRING, 0.0, now, fired_at=now)
    message = Message(f"test/{name}", name, "firing", labels, (alert,), (), sequence=0, generation=round(now * 1000))
    over = replace(alert, state=AlertState.INACTIVE, resolved_at=now)
    resolved = replace(message, status="resolved", firing=(), resolved=(over,), sequence=1)
    chosen = notifiers[name]
    # A test resolves what it opened, whoever is told of resolved alerts.
    notifier = chosen.inner if isinstance(chosen, FiringOnly) else chosen
    try:
        async with asyncio.timeout(TEST_TIMEOUT_S):
            ref = await notifier.send(message, None)
            if getattr(notifier, "opens_incidents", False):
                await notifier.send(resolved, ref)  # nobody else would close it
    except TimeoutError as error:
        raise DeliveryFailed(f"{name}: no answer within {TEST_TIMEOUT_S:g} s") from error
    told = "; ".join(part for part in (ref.place, ref.note) if part) if ref else ""
    return NotifierTested(result=f"{name}: delivered" + (f" ({told})" if told else ""))


def _notifier_view(name: str, receipts: Receipts) -> NotifierView:
    sent_at = rfc3339(receipts.last_sent_at)
    return NotifierView(name=name, last_sent_at=sent_at, waiting=receipts.waiting, given_up=receipts.given_up)


def notification_view(entry: OutboxEntry) -> NotificationView:
    """Return the view of one message."""
    return NotificationView(
        id=entry.message_id,
        receiver=entry.receiver,
        status=entry.progress,
        summary=str(entry.payload.get("summary") or entry.kind),
        attempts=entry.attempts,
        created_at=instant(entry.created_at),
        sent_at=rfc3339(entry.finished_at) if entry.status is OutboxStatus.SENT else None,
        next_at=rfc3339(entry.next_attempt_at) if entry.progress == "retrying" else None,
        error=entry.remark,
    )
