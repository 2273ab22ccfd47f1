"""The notification log: what was sent, what is being tried again, and what was given up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import ServicesDep
from controlplane.fleet.views import View, instant, rfc3339
from controlplane.store.outbox import OutboxEntry, OutboxStatus

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])


class NotificationView(View):
    """One message to one receiver."""

    id: str
    receiver: str
    status: str
    """queued, retrying, sent or dead."""
    summary: str
    attempts: int
    created_at: str
    sent_at: str | None
    error: str | None


class NotificationList(BaseModel):
    """Notifications, newest first."""

    items: tuple[NotificationView, ...]


@router.get("/cp/v1/notifications")
@requires(Role.VIEWER)
def notifications(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> NotificationList:
    """List the newest notifications."""
    return NotificationList(items=tuple(notification_view(e) for e in services.outbox.recent(limit)))


def notification_view(entry: OutboxEntry) -> NotificationView:
    """Show one message. A queued one that failed before is `retrying`."""
    retrying = entry.status is OutboxStatus.QUEUED and entry.error is not None
    return NotificationView(
        id=entry.message_id,
        receiver=entry.receiver,
        status="retrying" if retrying else entry.status.value,
        summary=str(entry.payload.get("summary") or entry.kind),
        attempts=entry.attempts,
        created_at=instant(entry.created_at),
        sent_at=rfc3339(entry.finished_at) if entry.status is OutboxStatus.SENT else None,
        error=entry.error,
    )
