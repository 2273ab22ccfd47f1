"""The fleet and its models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import ServicesDep
from controlplane.fleet.slos import SloList
from controlplane.fleet.trends import TrendsView
from controlplane.fleet.views import FleetView, ModelView

router = APIRouter(route_class=GuardedRoute, tags=["fleet"])

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
"""Pattern of a name in fleet.yaml."""
ModelName = Annotated[str, Path(pattern=NAME)]


class ModelList(BaseModel):
    """Every model of the fleet."""

    items: tuple[ModelView, ...]


@router.get("/cp/v1/fleet")
@requires(Role.VIEWER)
async def fleet(services: ServicesDep) -> FleetView:
    """Return the whole fleet. A part that cannot be read is null, and `warnings` names it."""
    return await services.fleet.fleet()


@router.get("/cp/v1/models")
@requires(Role.VIEWER)
async def models(services: ServicesDep) -> ModelList:
    """List the models with their versions and numbers."""
    return ModelList(items=await services.fleet.models())


@router.get("/cp/v1/slos")
@requires(Role.VIEWER)
async def slos(services: ServicesDep, model: Annotated[str | None, Query(pattern=NAME)] = None) -> SloList:
    """List the objectives of every model, or of one, with what is left of their error budgets."""
    return await services.slos.slos(model)


@router.get("/cp/v1/trends")
@requires(Role.VIEWER)
async def trends(services: ServicesDep) -> TrendsView:
    """Return the last hour of every model as lines of about 40 points. They are read at most every 15 seconds."""
    return await services.trends.trends()


@router.get("/cp/v1/models/{name}")
@requires(Role.VIEWER)
async def model(services: ServicesDep, name: ModelName) -> ModelView:
    """Return one model."""
    return await services.fleet.model(name)
