"""Silences: list, preview, create, extend, expire. Alerts: acknowledge, snooze, unacknowledge."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.alerts import Fingerprint, detail_of
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.holding.bodies import (
    ExtendRequest,
    PreviewRequest,
    ReasonRequest,
    SilenceId,
    SilenceRequest,
    SnoozeRequest,
    actor_of,
)
from controlplane.api.rollouts.bodies import KeyDep
from controlplane.api.services import ServicesDep
from controlplane.fleet.holding.bounds import matchers_of
from controlplane.fleet.holding.views import SilencePreview, SilenceView
from controlplane.fleet.views import AlertDetailView
from controlplane.store.holding.silences import SilenceState

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

State = Literal["open", "active", "pending", "expired", "all"]
"""`open` is active and pending."""


class SilenceList(BaseModel):
    """Silences, by their ends; expired ones come last, the latest first."""

    items: tuple[SilenceView, ...]


@router.get("/cp/v1/silences")
@requires(Role.VIEWER)
def silences(services: ServicesDep, state: State = "open") -> SilenceList:
    """List silences, with the number of alerts that each mutes now; by default those that are not over."""
    desk = services.holding
    if state == "all":
        return SilenceList(items=tuple(desk.every()))
    return SilenceList(items=tuple(desk.listed(None if state == "open" else SilenceState(state))))


@router.post("/cp/v1/silences", status_code=201)
@requires(Role.OPERATOR)
def create(
    services: ServicesDep, principal: PrincipalDep, response: Response, wanted: SilenceRequest, key: KeyDep = None
) -> SilenceView:
    """Make a silence. Its owner is the caller.

    Without an equality matcher, and for more than 30 days, it needs the role admin.
    """
    made = services.holding.create(wanted.wanted(services.clock.now()), actor_of(principal), key)
    response.headers["Location"] = f"/cp/v1/silences/{made.id}"
    return made


@router.post("/cp/v1/silence-preview")
@requires(Role.VIEWER)
def preview(services: ServicesDep, wanted: PreviewRequest) -> SilencePreview:
    """Return the alerts and the open groups that a silence with these matchers would concern now. Nothing changes."""
    return services.holding.preview(matchers_of(wanted.matchers))


@router.get("/cp/v1/silences/{silence_id}")
@requires(Role.VIEWER)
def silence(services: ServicesDep, silence_id: SilenceId) -> SilenceView:
    """Return one silence. Raises NotFound."""
    return services.holding.show(silence_id)


@router.post("/cp/v1/silences/{silence_id}/extend")
@requires(Role.OPERATOR)
def extend(services: ServicesDep, principal: PrincipalDep, silence_id: SilenceId, wanted: ExtendRequest) -> SilenceView:
    """Let a silence end this long from now. Safe to repeat."""
    return services.holding.extend(silence_id, wanted.length, actor_of(principal))


@router.post("/cp/v1/silences/{silence_id}/expire")
@requires(Role.OPERATOR)
def expire(
    services: ServicesDep, principal: PrincipalDep, silence_id: SilenceId, wanted: ReasonRequest | None = None
) -> SilenceView:
    """End a silence now. Safe to repeat."""
    return services.holding.expire(silence_id, actor_of(principal), wanted.comment.strip() if wanted else "")


@router.post("/cp/v1/alerts/{fingerprint}/acknowledge")
@requires(Role.OPERATOR)
def acknowledge(
    services: ServicesDep, principal: PrincipalDep, fingerprint: Fingerprint, wanted: ReasonRequest | None = None
) -> AlertDetailView:
    """Note that the caller takes care of a firing alert. It is not notified again until it has resolved."""
    services.holding.acknowledge(fingerprint, actor_of(principal), wanted.comment.strip() if wanted else "")
    return detail_of(services, fingerprint)


@router.post("/cp/v1/alerts/{fingerprint}/snooze")
@requires(Role.OPERATOR)
def snooze(
    services: ServicesDep, principal: PrincipalDep, fingerprint: Fingerprint, wanted: SnoozeRequest
) -> AlertDetailView:
    """Acknowledge a firing alert for a time. It is notified again after that."""
    services.holding.acknowledge(fingerprint, actor_of(principal), wanted.comment.strip(), wanted.length)
    return detail_of(services, fingerprint)


@router.post("/cp/v1/alerts/{fingerprint}/unacknowledge")
@requires(Role.OPERATOR)
def unacknowledge(
    services: ServicesDep, principal: PrincipalDep, fingerprint: Fingerprint, wanted: ReasonRequest | None = None
) -> AlertDetailView:
    """Take an acknowledgement or a snooze back. Safe to repeat."""
    services.holding.unacknowledge(fingerprint, actor_of(principal), wanted.comment.strip() if wanted else "")
    return detail_of(services, fingerprint)
