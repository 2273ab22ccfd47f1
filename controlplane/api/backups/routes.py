"""Backups: the jobs with their last and next runs, and a run now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from controlplane.access.roles import Role
from controlplane.api.auth import GuardedRoute, PrincipalDep, requires
from controlplane.api.models import NAME
from controlplane.api.services import Services, ServicesDep
from controlplane.errors import NotFound
from controlplane.fleet.backups import BackupDesk, BackupJobView, BackupRunView
from controlplane.fleet.snapshots import SnapshotList, unnamed_models
from controlplane.store.backups.runs import KEPT

router = APIRouter(route_class=GuardedRoute, tags=["operations"])

JobName = Annotated[str, Path(pattern=NAME)]
RunLimit = Annotated[int, Query(ge=1, le=KEPT)]


class BackupJobList(BaseModel):
    """Backup jobs in the order of fleet.yaml, and the verification."""

    items: tuple[BackupJobView, ...]
    repository: str | None
    """Address of the repository; null: fleet.yaml has no `backup:`."""
    unnamed_models: tuple[str, ...]
    """Models of fleet.yaml that no job names."""


class BackupRunList(BaseModel):
    """Runs of a job that ended, the newest first."""

    items: tuple[BackupRunView, ...]


@router.get("/cp/v1/backups")
@requires(Role.VIEWER)
def backups(services: ServicesDep) -> BackupJobList:
    """List the backup jobs: what runs, the last run and its result, the next run, the age of the newest good one."""
    desk, fleet = services.backups(), services.config()
    return BackupJobList(
        items=() if desk is None else tuple(desk.views()),
        repository=None if fleet.backup is None else fleet.backup.repository,
        unnamed_models=tuple(unnamed_models(fleet)),
    )


@router.get("/cp/v1/backups/{job}/runs")
@requires(Role.VIEWER)
def backup_runs(services: ServicesDep, job: JobName, limit: RunLimit = 100) -> BackupRunList:
    """List the runs of a job that ended, the newest first. Raises NotFound for an unknown job."""
    return BackupRunList(items=tuple(_desk(services, job).runs(job, limit)))


@router.get("/cp/v1/snapshots")
@requires(Role.VIEWER)
async def snapshots(services: ServicesDep) -> SnapshotList:
    """List the newest snapshots of the repository, as they were read last, and say when that was.

    It answers at once: the list is read in the background, also from a repository that hangs.
    """
    return services.snapshots()


@router.post("/cp/v1/backups/{job}/runs", status_code=202)
@requires(Role.OPERATOR)
def run_backup(services: ServicesDep, principal: PrincipalDep, job: JobName) -> BackupJobView:
    """Ask for a run of a job now. It begins within seconds, or after the run of another job.

    409: a run of the job waits or runs already, or this control plane only observes. Raises NotFound for an unknown
    job.
    """
    return _desk(services, job).ask(job, principal.name)


def _desk(services: Services, job: str) -> BackupDesk:
    desk = services.backups()
    if desk is None:
        raise NotFound(f"there is no backup {job}")
    return desk
