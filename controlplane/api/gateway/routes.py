"""The gateways' routes with their numbers, and the month's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from alerts.interfaces import VectorSample
from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import QueryError
from controlplane.fleet.operations.costs import ACCOUNTS, GPUS, CostView, cost_view
from controlplane.fleet.operations.routes import QUERIES, RouteList, refusals, route_models
from controlplane.fleet.view import instant
from controlplane.gateway.desired.codec import decode
from controlplane.metrics.promql.values import Vector

router = APIRouter(route_class=GuardedRoute, tags=["gateways"])


@router.get("/cp/v1/gateways/routes")
@requires(Role.VIEWER)
async def routes(services: ServicesDep) -> RouteList:
    """Return each model's versions and backends as gateways get them, with what the gateways count.

    Raises Unavailable when the desired state is withheld, or cannot be made.
    """
    now = services.clock.now()
    body = await services.gateways.feed.after("", 0.0)
    results = await asyncio.gather(*(vector(services, expr, now) for expr in QUERIES.values()))
    numbers = {name: found for name, found in zip(QUERIES, results, strict=True) if found is not None}
    return RouteList(
        generated_at=instant(now),
        models=() if body is None else route_models(decode(body), numbers),
        refusals=refusals(numbers),
        unread=tuple(name for name in QUERIES if name not in numbers),
    )


@router.get("/cp/v1/cost")
@requires(Role.VIEWER)
async def cost(services: ServicesDep) -> CostView:
    """Return the month's budgets of models and accounts, and what idle GPUs cost."""
    now = services.clock.now()
    reports, accounts, gpus = await asyncio.gather(
        run_in_threadpool(services.costs), vector(services, ACCOUNTS, now), vector(services, GPUS, now)
    )
    return cost_view(services.config(), reports, accounts or (), gpus, now)


async def vector(services: Services, expr: str, now: float) -> Sequence[VectorSample] | None:
    """Return the samples of a query; None when it fails: the answer has everything else."""
    try:
        value = await services.queries.instant_value(expr, now)
    except QueryError:
        return None
    return value.samples if isinstance(value, Vector) else None
