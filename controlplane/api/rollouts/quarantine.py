"""Versions in quarantine: a version that was rolled back cannot be promoted until an admin lifts it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME, ModelName
from controlplane.api.rollouts.bodies import Lifting
from controlplane.api.services import ServicesDep
from controlplane.fleet.rollout_views import QuarantineView
from controlplane.fleet.rollouts import quarantine_view

router = APIRouter(route_class=GuardedRoute, tags=["rollouts"])


class QuarantineList(BaseModel):
    """The versions in quarantine, newest first."""

    items: tuple[QuarantineView, ...]


@router.get("/cp/v1/quarantine")
@requires(Role.VIEWER)
async def quarantine(services: ServicesDep, model: Annotated[str | None, Query(pattern=NAME)] = None) -> QuarantineList:
    """List the versions in quarantine, of one model or of all."""
    found = await services.rollouts.quarantines()
    return QuarantineList(items=tuple(quarantine_view(q) for q in found if model in (None, q.model)))


@router.post("/cp/v1/models/{name}/versions/{version}/quarantine/lift")
@requires(Role.ADMIN)
async def lift(
    services: ServicesDep, principal: PrincipalDep, name: ModelName, version: ModelName, wanted: Lifting
) -> QuarantineView:
    """Lift the quarantine of a version. The reason is kept in the audit trail."""
    lifted = await services.rollouts.lift(
        name, version, actor=principal.name, role=principal.role.value, reason=wanted.reason.strip()
    )
    services.fleet.forget()
    return quarantine_view(lifted)
