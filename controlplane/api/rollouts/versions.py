"""The versions of a model with their files, and the approval of changed files."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import ModelName
from controlplane.api.rollouts.bodies import Reason
from controlplane.api.services import ServicesDep
from controlplane.fleet.model_versions import ROLLOUTS, ApprovalView, KnownVersionView

router = APIRouter(route_class=GuardedRoute, tags=["fleet"])


class VersionList(BaseModel):
    """The versions of a model: those of fleet.yaml first, then those that are only on disk or in backups."""

    items: tuple[KnownVersionView, ...]


class ApproveFiles(BaseModel):
    """The files to approve, and why."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of the files. null: that of the files on disk, which are read now."""
    reason: Reason


@router.get("/cp/v1/models/{name}/versions")
@requires(Role.VIEWER)
async def versions(services: ServicesDep, name: ModelName) -> VersionList:
    """List every known version of a model: serving, on disk, in backups. Raises NotFound for an unknown model."""
    view = await services.fleet.model(name)
    recorded = await services.rollouts.list(name, ROLLOUTS)
    rollouts = [each.rollout for each in recorded]
    return VersionList(items=await asyncio.to_thread(services.versions.known, view, rollouts))


@router.post("/cp/v1/models/{name}/versions/{version}/approval")
@requires(Role.OPERATOR)
async def approve(
    services: ServicesDep, principal: PrincipalDep, name: ModelName, version: ModelName, wanted: ApproveFiles
) -> ApprovalView:
    """Approve the files of a version, so that it can be promoted although they changed.

    409: the files cannot be read, or not in a few seconds. The reason is kept in the audit trail.
    """
    return await services.versions.approve(
        name, version, wanted.digest, reason=wanted.reason.strip(), actor=principal.name
    )
