"""The scraped targets."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, requires
from controlplane.api.services import ServicesDep
from controlplane.fleet.views import TargetView

router = APIRouter(route_class=GuardedRoute, tags=["fleet"])


class TargetList(BaseModel):
    """Every target of the fleet."""

    items: tuple[TargetView, ...]


@router.get("/cp/v1/targets")
@requires(Role.VIEWER)
async def targets(services: ServicesDep) -> TargetList:
    """List the scraped targets and their last scrape."""
    return TargetList(items=services.fleet.targets())
