"""Rollouts: list them, and show one with its progress and its findings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.models import NAME
from controlplane.api.rollouts.bodies import RolloutId
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import NotFound
from controlplane.fleet.rollout_views import FindingView, RolloutView
from controlplane.fleet.rollouts import finding_view, rollout_view, whole_rollout_view
from controlplane.rollout.reporting.progress import EARLIER, NO_PAST, Past, durations
from controlplane.traffic.driver import TrafficObservation

router = APIRouter(route_class=GuardedRoute, tags=["rollouts"])


class RolloutList(BaseModel):
    """Rollouts, newest first, without their events and progress."""

    items: tuple[RolloutView, ...]


class FindingList(BaseModel):
    """The findings of a rollout, oldest first."""

    items: tuple[FindingView, ...]


@router.get("/cp/v1/rollouts")
@requires(Role.VIEWER)
async def rollouts(
    services: ServicesDep,
    model: Annotated[str | None, Query(pattern=NAME)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RolloutList:
    """List rollouts, of one model or of all."""
    found = await services.rollouts.list(model, limit)
    return RolloutList(items=tuple(rollout_view(recorded.rollout) for recorded in found))


@router.get("/cp/v1/rollouts/{rollout_id}")
@requires(Role.VIEWER)
async def rollout(services: ServicesDep, rollout_id: RolloutId) -> RolloutView:
    """Return one rollout with its events, progress, weights, latest findings and operators' wishes."""
    recorded = await services.rollouts.show(rollout_id)
    model = recorded.rollout.model
    seen, past = await known_of(services, model)
    kept = await services.rollouts.quarantines()
    quarantined = (model, recorded.rollout.plan.to_version) in {(q.model, q.version) for q in kept}
    return whole_rollout_view(recorded, seen, past, quarantined, services.clock.now())


@router.get("/cp/v1/rollouts/{rollout_id}/findings")
@requires(Role.VIEWER)
async def findings(
    services: ServicesDep, rollout_id: RolloutId, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> FindingList:
    """Return the newest findings of a rollout: looks, warm-ups, golden sets, hooks and checks, with their samples."""
    found = await services.rollouts.findings(rollout_id, limit)
    return FindingList(items=tuple(map(finding_view, found)))


async def known_of(services: Services, model: str) -> tuple[TrafficObservation | None, Past]:
    """Return the last observation of a model, and the durations of its rollouts' earlier steps. Raises Unavailable."""
    try:
        seen = (await services.rollouts.model(model)).observation
        earlier = await services.rollouts.list(model, EARLIER)
    except NotFound:
        return None, NO_PAST  # the model left fleet.yaml; its rollouts can still be read
    return seen, durations([recorded.rollout for recorded in earlier])
