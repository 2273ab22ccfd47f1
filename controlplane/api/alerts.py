"""Alerts and their history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from alerts.errors import MatcherError
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.matchers import Matcher, parse_matchers
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import MalformedRequest
from controlplane.fleet import assemble
from controlplane.fleet.alerting.explanations import ExplanationView
from controlplane.fleet.holding.views import NO_HOLD
from controlplane.fleet.views import AlertDetailView, AlertView, EpisodeView
from controlplane.store.alert_log import SqlAlertLog

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])

State = Literal["active", "firing", "pending", "resolved", "all"]
"""`active` is firing and pending."""
MOST_TEXT = 1000
"""Most characters of matchers. Chosen: those of ten labels or so."""
Fingerprint = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]


class AlertList(BaseModel):
    """Alerts: firing, then pending, the oldest first, then resolved, the latest first."""

    items: tuple[AlertView, ...]


class EpisodeList(BaseModel):
    """The times of one alert, oldest first."""

    items: tuple[EpisodeView, ...]


@router.get("/cp/v1/alerts")
@requires(Role.VIEWER)
def alerts(
    services: ServicesDep,
    state: State = "active",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    label: Annotated[str, Query(max_length=MOST_TEXT)] = "",
) -> AlertList:
    """List alerts; by default the firing and pending ones.

    `label` are matchers such as `model="chat", node=~"n.*"`: alerts that match all of them are listed.
    """
    kept = _matchers(label)
    only = AlertState(state) if state in ("firing", "pending") else None
    found = [] if state == "resolved" else services.alerts.active(only, limit, kept)
    if state in ("all", "resolved") and len(found) < limit:
        found.extend(resolved_alerts(services.alerts, limit, kept)[: limit - len(found)])
    holds = services.holding.standings(found)
    return AlertList(items=tuple(assemble.alert_view(a, holds.get(a.fingerprint, NO_HOLD)) for a in found))


@router.get("/cp/v1/alerts/{fingerprint}")
@requires(Role.VIEWER)
def alert(services: ServicesDep, fingerprint: Fingerprint) -> AlertDetailView:
    """Return one alert with its history. Raises NotFound."""
    return detail_of(services, fingerprint)


@router.get("/cp/v1/alerts/{fingerprint}/episodes")
@requires(Role.VIEWER)
def episodes(services: ServicesDep, fingerprint: Fingerprint) -> EpisodeList:
    """List when an alert was pending and fired, by its stored history. Raises NotFound."""
    found = services.alerts.get(fingerprint)
    return EpisodeList(items=assemble.episodes(found, services.alerts.history(fingerprint)))


@router.get("/cp/v1/alerts/{fingerprint}/explanation")
@requires(Role.VIEWER)
async def explanation(services: ServicesDep, fingerprint: Fingerprint) -> ExplanationView:
    """Explain which notifier got an alert, which stage stopped it, and what changed around its start.

    Raises NotFound.
    """
    alert = await asyncio.to_thread(services.alerts.get, fingerprint)
    return await services.explanations.explained(alert)


def _matchers(label: str) -> tuple[Matcher, ...]:
    try:
        return parse_matchers(label) if label.strip() else ()
    except MatcherError as error:
        raise MalformedRequest(f"label: {error}") from error


def detail_of(services: Services, fingerprint: str) -> AlertDetailView:
    """Return one alert with its history and what holds it back. Raises NotFound."""
    found = services.alerts.get(fingerprint)
    hold = NO_HOLD
    if found.state is AlertState.FIRING or found.changes:
        hold = services.holding.standings([found]).get(fingerprint, NO_HOLD)
    return assemble.alert_detail(found, services.alerts.history(fingerprint), hold)


def resolved_alerts(log: SqlAlertLog, limit: int, only: Sequence[Matcher] = ()) -> list[AlertInstance]:
    """Return resolved alerts, each once with its latest end, without those that are active again.

    `only` keeps those whose labels match all of these.
    """
    last: dict[str, AlertInstance] = {}
    for alert in log.resolved(limit, only):
        last.setdefault(alert.fingerprint, alert)
    again = log.active_among(list(last))
    return [alert for fingerprint, alert in last.items() if fingerprint not in again]
