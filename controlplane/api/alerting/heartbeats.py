"""Heartbeats of other programs, and the metrics that the rule HeartbeatMissing reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from fastapi import APIRouter, Path
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import NotFound
from controlplane.fleet.view import View, instant
from controlplane.store.alerting.heartbeats import Heartbeat

router = APIRouter(route_class=GuardedRoute, tags=["alerts"])


class HeartbeatView(View):
    """One expected heartbeat."""

    name: str
    at: str
    """Time of the last one; before the first one: when it was declared."""
    by: str
    """Name of the token that sent it; empty before the first one."""
    beats: int
    within_seconds: float
    missing: bool
    """Whether the last one is longer ago than `within_seconds`."""


class HeartbeatList(BaseModel):
    """All expected heartbeats, by name."""

    items: tuple[HeartbeatView, ...]


@router.get("/cp/v1/heartbeats")
@requires(Role.VIEWER)
def heartbeats(services: ServicesDep) -> HeartbeatList:
    """List the heartbeats that fleet.yaml expects."""
    within = _within(services)
    return HeartbeatList(items=tuple(_view(services, one, within) for one in _expected(services, within)))


@router.post("/cp/v1/heartbeats/{name}")
@requires(Role.ALERT_SENDER)
def beat(services: ServicesDep, principal: PrincipalDep, name: Annotated[str, Path(pattern=NAME)]) -> HeartbeatView:
    """Record a heartbeat. Raises NotFound for a name that fleet.yaml does not expect."""
    within = _within(services)
    if name not in within:
        known = ", ".join(within) or "none"
        raise NotFound(f"no heartbeat is called {name}; notifications.heartbeats of fleet.yaml declares {known}")
    return _view(services, services.heartbeats.beat(name, principal.name, services.clock.now()), within)


def heartbeat_metrics(services: Services) -> Iterable[Metric]:
    """Yield the age of each heartbeat and its limit. Raises Unavailable."""
    within, now = _within(services), services.clock.now()
    age = GaugeMetricFamily(
        "controlplane_heartbeat_age_seconds", "Seconds since a heartbeat was last received.", labels=("heartbeat",)
    )
    limit = GaugeMetricFamily(
        "controlplane_heartbeat_within_seconds", "Seconds within which a heartbeat is expected.", labels=("heartbeat",)
    )
    count = CounterMetricFamily("controlplane_heartbeats", "Heartbeats that were received.", labels=("heartbeat",))
    for one in _expected(services, within):
        age.add_metric((one.name,), max(0.0, now - one.at))
        limit.add_metric((one.name,), within[one.name])
        count.add_metric((one.name,), one.beats)
    yield from (age, limit, count)


def _within(services: Services) -> Mapping[str, float]:
    return {one.name: one.within for one in services.config().notifications.heartbeats}


def _expected(services: Services, within: Mapping[str, float]) -> list[Heartbeat]:
    return [one for one in services.heartbeats.all() if one.name in within]


def _view(services: Services, one: Heartbeat, within: Mapping[str, float]) -> HeartbeatView:
    return HeartbeatView(
        name=one.name,
        at=instant(one.at),
        by=one.by,
        beats=one.beats,
        within_seconds=within[one.name],
        missing=services.clock.now() - one.at > within[one.name],
    )
