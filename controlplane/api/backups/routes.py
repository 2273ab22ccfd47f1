"""Backups: the jobs with their last and next runs, and a run now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME
from controlplane.api.services import ServicesDep
from controlplane.errors import NotFound
from controlplane.fleet.backups import BackupJobView

router = APIRouter(route_class=GuardedRoute, tags=["operations"])


class BackupJobList(BaseModel):
    """Backup jobs in the order of fleet.yaml, and the verification."""

    items: tuple[BackupJobView, ...]


@router.get("/cp/v1/backups")
@requires(Role.VIEWER)
def backups(services: ServicesDep) -> BackupJobList:
    """List the backup jobs: what runs, the last run and its result, the next run, the age of the newest good one."""
    desk = services.backups()
    return BackupJobList(items=() if desk is None else tuple(desk.views()))


@router.post("/cp/v1/backups/{job}/runs", status_code=202)
@requires(Role.OPERATOR)
def run_backup(
    services: ServicesDep, principal: PrincipalDep, job: Annotated[str, Path(pattern=NAME)]
) -> BackupJobView:
    """Ask for a run of a job now. It begins within seconds, or after the run of another job.

    409: a run of the job waits or runs already, or this control plane only observes. Raises NotFound for an unknown
    job.
    """
    desk = services.backups()
    if desk is None:
        raise NotFound(f"there is no backup {job}")
    return desk.ask(job, principal.name)
