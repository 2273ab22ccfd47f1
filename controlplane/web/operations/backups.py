"""The pages of backups: the jobs with their runs, the snapshots of the repository, and the dialog of a run now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from controlplane.access.roles import Role
from controlplane.api.auth import PrincipalDep, requires
from controlplane.api.backups.routes import JobName, run_backup
from controlplane.api.backups.routes import backup_runs as read_runs
from controlplane.api.backups.routes import backups as read_jobs
from controlplane.api.backups.routes import snapshots as read_snapshots
from controlplane.api.services import Services, ServicesDep
from controlplane.config.backup.section import (
    DRILL,
    VERIFY,
    BackupDrillSection,
    BackupJobSection,
    BackupSection,
    KeepSection,
)
from controlplane.errors import NotFound
from controlplane.fleet.backups import BackupJobView, BackupRunView
from controlplane.store.backups.runs import BackupOutcome
from controlplane.web.csv_answer import csv_answer
from controlplane.web.dialog import Dialogs, Key
from controlplane.web.languages import noted
from controlplane.web.operations.bars import columns
from controlplane.web.render import Renderer

PATH = "/backups"
RUNS = 100
"""Most runs of a job's page."""
STRIP = 14
"""Runs of each job that the list marks. Chosen: two weeks of a daily job."""
SIZES = 30
"""Columns of the chart of sizes at least."""
JOBS_HEADER = ("job", "source", "subject", "state", "good_at", "age_seconds", "max_age_seconds", "next_at", "cron")
RUNS_HEADER = (
    *("started_at", "finished_at", "outcome", "asked_by", "snapshot", "bytes", "new_bytes", "seconds", "words"),
)
GUIDE = "docs/backups.md"
"""Guide to backups, in the project's folder."""


class BackupsPage:
    """The endpoints. Viewers may read the pages; a run now needs the role operator, as in the API."""

    def __init__(self, render: Renderer, dialogs: Dialogs) -> None:
        self._render, self._dialogs = render, dialogs

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints' routes."""
        router.get(PATH)(self.page)
        router.get(f"{PATH}/{{job}}")(self.job)
        router.get(f"{PATH}/{{job}}/run")(self.ask_run)
        router.post(f"{PATH}/{{job}}/run")(self.run)

    @requires(Role.VIEWER)
    async def page(self, request: Request, services: ServicesDep, format: Literal["", "csv"] = "") -> Response:
        """Show every job, and the newest snapshots as they were read last."""
        found, snapshots = await asyncio.gather(run_in_threadpool(read_jobs, services), read_snapshots(services))
        rows = [(view, standing(view)) for view in found.items]
        if format == "csv":
            cells = ({**view.model_dump(), "state": state} for view, state in rows)
            return csv_answer("backups", JOBS_HEADER, ([cell[name] for name in JOBS_HEADER] for cell in cells))
        section = services.config().backup
        return self._render.page(
            request,
            "operations/backups.html",
            jobs=rows,
            runs=await run_in_threadpool(_newest_runs, services, found.items),
            counts={word: sum(state == word for _, state in rows) for word in WORDS},
            running=sum(view.open is not None for view in found.items),
            repository=found.repository,
            unnamed=found.unnamed_models,
            plane=section is not None and any(job.control_plane for job in section.jobs),
            verifies=section is not None and section.verify is not None,
            snapshots=snapshots,
            guide=GUIDE,
        )

    @requires(Role.VIEWER)
    async def job(
        self, request: Request, services: ServicesDep, job: JobName, format: Literal["", "csv"] = ""
    ) -> Response:
        """Show one job: what it does, what runs, and its history."""
        view, runs = await asyncio.gather(
            run_in_threadpool(_view, services, job), run_in_threadpool(read_runs, services, job, RUNS)
        )
        if format == "csv":
            cells = ([getattr(run, name) for name in RUNS_HEADER] for run in runs.items)
            return csv_answer(f"backup-{job}", RUNS_HEADER, cells)
        return self._render.page(
            request,
            "operations/backup_job.html",
            sizes=columns(_sizes(runs.items), SIZES),
            job=view,
            standing=standing(view),
            effects=_effects(services.config().backup, view),
            runs=runs.items,
            most_runs=RUNS,
        )

    @requires(Role.OPERATOR)
    async def ask_run(self, request: Request, services: ServicesDep, job: JobName) -> Response:
        """Show what a run would do, and ask for confirmation."""
        view = await run_in_threadpool(_view, services, job)
        what = job if job.startswith(DRILL) else f"backup {job}"
        title = "Verify the repository now?" if job == VERIFY else f"Run {what} now?"
        if view.open is not None:
            what = "waits already" if view.open.state == "waiting" else "is under way already"
            return self._dialogs.ask(request, title=title, verb="", reasons=(f"a run of {job} {what}",))
        if services.observe_only:
            reason = "this control plane only observes, so it makes no backups"
            return self._dialogs.ask(request, title=title, verb="", reasons=(reason,))
        notes = ["It begins within seconds, or after the run of another job. The models go on serving."]
        if view.last is not None and view.last.seconds is not None:
            notes.append(f"The last run took {round(view.last.seconds)} s.")
        verb = "Verify now" if job == VERIFY else "Run now"
        return self._dialogs.ask(
            request, title=title, verb=verb, steps=_effects(services.config().backup, view), notes=tuple(notes)
        )

    @requires(Role.OPERATOR)
    async def run(
        self, request: Request, services: ServicesDep, principal: PrincipalDep, job: JobName, key: Key
    ) -> Response:
        """Ask for the run. A second click finds the run of the first, which the dialog tells."""
        return await self._dialogs.done(request, run_in_threadpool(run_backup, services, principal, job), PATH)


WORDS = (noted("too old"), noted("failed"), noted("interrupted"), noted("not run yet"), noted("good"))
"""States of a job, the worst first."""
OUTCOMES = (noted("succeeded"), noted("failed"), noted("interrupted"))


def standing(view: BackupJobView) -> str:
    """Return the state of a job, one of WORDS."""
    if view.too_old:
        return "too old"
    if view.last is None:
        return "not run yet"
    if view.last.outcome == BackupOutcome.SUCCEEDED:
        return "good"
    return "interrupted" if view.last.outcome == BackupOutcome.INTERRUPTED else "failed"


def _newest_runs(services: Services, jobs: Sequence[BackupJobView]) -> Mapping[str, Sequence[BackupRunView]]:
    return {view.job: read_runs(services, view.job, STRIP).items for view in jobs}


def _sizes(runs: Sequence[BackupRunView]) -> list[tuple[str, float | None]]:
    """Return the end and the bytes of the runs that made a snapshot, oldest first."""
    return [(run.finished_at or "", float(run.bytes)) for run in runs[::-1] if run.bytes is not None]


def _view(services: Services, job: str) -> BackupJobView:
    for view in read_jobs(services).items:
        if view.job == job:
            return view
    raise NotFound(f"there is no backup {job}")


def _effects(section: BackupSection | None, view: BackupJobView) -> tuple[str, ...]:
    """Return what a run does, as sentences. There are none of a job that a reload has just removed."""
    if section is None:
        return ()
    if view.job == VERIFY:
        sample = section.verify.sample if section.verify is not None else 100.0
        share = "every pack" if sample >= 100 else f"{sample:g} % of the packs, those first that were not read longest"
        return (
            f"A process of low priority reads {share} of {section.repository} and checks every byte.",
            "It changes no snapshot. Damage is named, and the next backup stores damaged chunks again.",
        )
    job = next((one for one in section.jobs if one.name == view.job), None)
    if section.drill is not None and view.job.startswith(DRILL):
        return _drill_effects(section.drill, view)
    if job is None:
        return ()
    first = (
        f"A process of low priority backs {_source(job)} up to {section.repository}, as a new snapshot of {job.about}."
    )
    if job.keep is None:
        return first, "No snapshot is deleted."
    return first, f"Then it deletes the snapshots of {job.about} beyond {_kept(job.keep)}."


def _drill_effects(drill: BackupDrillSection, view: BackupJobView) -> tuple[str, ...]:
    loaded = "" if drill.engine is None else f" The Triton at {drill.engine.triton} loads it, and unloads it again."
    return (
        f"A process of low priority restores the newest snapshot of {view.subject} into {drill.scratch}, checks every "
        f"byte, and deletes it there.{loaded}",
        "It changes no snapshot and nothing that serves.",
    )


def _source(job: BackupJobSection) -> str:
    if job.control_plane:
        samples = ", configuration and stored samples" if job.with_metrics else " and configuration"
        return f"the control plane's database{samples}"
    parts = f" ({', '.join(job.parts)})" if job.parts else ""
    return f"{job.folder}{parts}"


def _kept(keep: KeepSection) -> str:
    """Return the numbers of snapshots that stay."""
    return ", ".join(f"{count} {period}" for period, count in keep if count) + ", and the newest of each version"
