"""The part that makes backups by the calendar, and those that people ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alerts.interfaces import Clock
from controlplane.app.parts.part import Configuration, Part, difference
from controlplane.app.schedules import BACKUP, backup_timetables
from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.command import Place, Work, drill_work, job_work, verify_work
from controlplane.backup.jobs.listing import Listing, SnapshotLister
from controlplane.backup.jobs.run import BackupRunner
from controlplane.clock.calendar import Timetable
from controlplane.config.backup.section import DRILL, VERIFY, BackupSection
from controlplane.config.backup.versions import version_paths
from controlplane.schedule import CalendarLoop, Due, Loop, LoopFactory
from controlplane.store.backups.runs import BackupOutcome, BackupResult, BackupRun, BackupRunStore
from controlplane.store.database import Database
from controlplane.store.lease import Lease

log = logging.getLogger(__name__)

LOOP: Final = "backups"
"""Name of the loop and of its lease. Its holder runs the jobs, one after another: they share one repository."""
LOOK_S: Final = 5.0
"""Seconds between two looks for runs that are due or asked for."""
NOT_CONFIGURED: Final = "fleet.yaml does not have this job any more"


@dataclass(frozen=True)
class BackupSettings:
    """The section `backup`, the times and versions of its jobs by name, and the file that it is in."""

    section: BackupSection
    times: Mapping[str, Timetable]
    config: Path
    versions: Mapping[str, tuple[str, ...]]
    """Paths in the folder of each job that hold versions of the fleet. A prune keeps a snapshot of each."""

    def works(self, data_dir: Path) -> dict[str, Work]:
        """Return the work of each job, by name."""
        place = self.place(data_dir)
        works = [job_work(job, place, self.versions[job.name]) for job in self.section.jobs]
        if self.section.verify is not None:
            works.append(verify_work(self.section.verify))
        if self.section.drill is not None:
            works += [drill_work(self.section.drill, job) for job in self.section.drilled]
        return {work.job: work for work in works}

    def place(self, data_dir: Path) -> Place:
        """Return the repository and this control plane."""
        return Place(self.section.repository, self.section.key_file, self.config, data_dir)


class Backups(Part[BackupSettings | None]):
    """Runs the jobs of `backup:`, in one process at a time. A process that only observes runs none."""

    name = "backups"

    def __init__(
        self, db: Database, clock: Clock, data_dir: Path, *, observe_only: bool, runner: BackupRunner | None = None
    ) -> None:
        self._clock, self._data_dir, self._observe_only = clock, data_dir, observe_only
        self._runs = BackupRunStore(db)
        self._runner = runner or BackupRunner(self._runs, clock)
        self._lister = SnapshotLister(clock.now)
        self._ended_at: float | None = None
        """When a run last ended in this process."""
        self._settings: BackupSettings | None = None
        self._calendars: dict[str, CalendarLoop] = {}
        self._lease: Lease | None = None
        """The lease of the tick that runs, which keeps the jobs of all processes apart."""
        self._tidied: int | None = None
        """Tenure of the lease in which the runs that others left were ended; None: look for them."""

    def settings(self, config: Configuration) -> BackupSettings | None:
        """Return the jobs of a configuration; None: there are none."""
        section = config.fleet.backup
        if section is None:
            return None
        versions = {job.name: version_paths(job, config.fleet.models) for job in section.jobs}
        return BackupSettings(section, backup_timetables(config.fleet), config.loaded.path, versions)

    async def configure(self, settings: BackupSettings | None) -> Sequence[str]:
        """Run these jobs from now on. One that runs goes on as it began."""
        before, self._settings = self._settings, settings
        return difference("jobs", _compared(before), _compared(settings))

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that runs the jobs."""

        async def tick(lease: Lease) -> None:
            await self._tick(lease, make)

        loop = make.leased(LOOP, LOOK_S, tick, wanted=self._acts)
        loop.cut_short = True
        return [loop]

    def snapshots(self) -> Listing | None:
        """Return what is known of the repository's snapshots, at once; None: there is no repository."""
        settings = self._settings
        return None if settings is None else self._lister.look(settings.place(self._data_dir), self._ended_at)

    async def close(self) -> None:
        """Stop reading the list of snapshots."""
        await self._lister.close()

    def _acts(self) -> bool:
        return self._settings is not None and not self._observe_only

    async def _tick(self, lease: Lease, make: LoopFactory) -> None:
        self._lease = lease
        if self._tidied != lease.epoch:
            for job in await asyncio.to_thread(self._runs.interrupt_left, lease, self._clock.now()):
                log.warning("backup %s: its run was cut short when a control plane ended", job)
            self._tidied = lease.epoch
        for name in self._settings.times if self._settings is not None else ():
            await self._calendar(name, make).run_once()
            if lease.left_s() <= 0:
                return  # another process may run the jobs by now
        for wish in await asyncio.to_thread(self._runs.wanted):
            await self._carry_out(wish, lease)

    def _calendar(self, name: str, make: LoopFactory) -> CalendarLoop:
        """Return the calendar of a job. It records up to when the job has run, and makes up for times that passed."""

        def times() -> Timetable | None:
            return None if self._settings is None else self._settings.times.get(name)

        async def run(_: Lease, due: Due) -> Mapping[str, Any]:
            assert self._lease is not None
            await self._run(name, self._lease)
            return due.previous.notes

        if name not in self._calendars:
            self._calendars[name] = make.calendar(f"{BACKUP}{name}", times, run)
        return self._calendars[name]

    async def _carry_out(self, wish: BackupRun, lease: Lease) -> None:
        settings = self._settings
        if settings is None or wish.job not in settings.times:
            result = BackupResult(BackupOutcome.FAILED, NOT_CONFIGURED)
            await asyncio.to_thread(self._runs.finish, wish.id, result, lease, self._clock.now())
            return
        try:
            await self._run(wish.job, lease)
        except BackupError as error:
            log.error("%s", error)  # it is recorded, and the next wish comes

    async def _run(self, name: str, lease: Lease) -> None:
        settings = self._settings
        if settings is None or name not in settings.times:
            return  # a reload has just removed the job
        self._tidied = None  # a run whose end cannot be stored is ended by the next tick
        try:
            await self._runner.run(settings.works(self._data_dir)[name], settings.place(self._data_dir), lease)
        finally:
            self._ended_at = self._clock.now()


def _compared(settings: BackupSettings | None) -> dict[str, object]:
    """Return what a change of each job is told by."""
    if settings is None:
        return {}
    section = settings.section
    where = (section.repository, section.key_file)
    found: dict[str, object] = {
        job.name: (job, settings.times[job.name], settings.versions[job.name], where) for job in section.jobs
    }
    if section.verify is not None:
        found[VERIFY] = (section.verify, settings.times[VERIFY], where)
    for job in section.drilled:
        found[f"{DRILL}{job.name}"] = (section.drill, job, settings.times[f"{DRILL}{job.name}"], where)
    return found
