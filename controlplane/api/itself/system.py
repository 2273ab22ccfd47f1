"""The control plane's own health, and what a reload of its fleet.yaml would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fastapi import APIRouter

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.operations import ChangeView, Compared
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import ControlPlaneError
from controlplane.fleet.operations.system import (
    LeaseView,
    ReplicaView,
    SystemView,
    clock_view,
    group_views,
    lease_views,
    pool_views,
    query_view,
    replica_views,
    shipping_views,
    storage_view,
)
from controlplane.fleet.view import instant

router = APIRouter(route_class=GuardedRoute, tags=["operations"])


@router.get("/cp/v1/system")
@requires(Role.VIEWER)
def system(services: ServicesDep) -> SystemView:
    """Return the control plane's own health. What the database does not tell now is null."""
    run, fleet, now = services.run(), services.config(), services.clock.now()
    targets = services.targets()
    leases = _leases(services, now)
    return SystemView(
        generated_at=instant(now),
        version=services.version,
        fleet=fleet.fleet.name,
        observe_only=services.observe_only,
        started_at=instant(run.started_at),
        configured_at=instant(run.configured_at),
        reload_ok=run.reload_ok,
        not_ready=dict(services.not_ready()),
        leases=leases,
        replicas=_replicas(services, leases),
        targets=dict(Counter(target.health for target in targets)),
        scrape_seconds=sum(target.duration_s or 0.0 for target in targets),
        scraped_samples=sum(target.samples or 0 for target in targets),
        storage=storage_view(
            services.series_store.stats(),
            services.storage(),
            fleet.metrics.retention,
            fleet.metrics.retention_recorded,
        ),
        queries=query_view(services.querying()),
        groups=group_views(services.rules(), fleet.evaluation_interval),
        outbox=_outbox(services),
        shipping=shipping_views(services.shipping()),
        clock=clock_view(services.clock_report()),
        pools=pool_views(services.pools.reports()),
        unreadable=_unreadable(services),
        alerting_fault=services.alerting_fault(),
    )


@router.get("/cp/v1/config/diff")
@requires(Role.OPERATOR)
async def on_disk(services: ServicesDep) -> Compared:
    """Return, field by field, what a reload of fleet.yaml would change now. Nothing changes. 422: the file is wrong."""
    found = await services.on_disk()
    return Compared(
        changes=tuple(ChangeView(field=c.field, running=c.before, file=c.after, effect=c.effect) for c in found)
    )


def _leases(services: Services, now: float) -> tuple[LeaseView, ...]:
    try:
        stored = services.sharing.lease_holders()
    except ControlPlaneError:
        stored = ()
    return lease_views(services.sharing.leases(), stored, now)


def _replicas(services: Services, leases: Sequence[LeaseView]) -> tuple[ReplicaView, ...] | None:
    try:
        return replica_views(services.sharing.holder, services.sharing.replicas(), leases)
    except ControlPlaneError:
        return None


def _outbox(services: Services) -> Mapping[str, int] | None:
    try:
        return {str(status): count for status, count in services.outbox.depth().items()}
    except ControlPlaneError:
        return None


def _unreadable(services: Services) -> Mapping[str, int] | None:
    try:
        return dict(Counter(row.table for row in services.unread()))
    except ControlPlaneError:
        return None
