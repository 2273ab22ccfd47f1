"""The backups of the running control plane as people see them, and their wishes for a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from controlplane.backup.room import Room, RoomWatch
from controlplane.clock.calendar import Timetable
from controlplane.config.backup.section import DRILL, VERIFY, BackupSection
from controlplane.errors import Conflict, NotFound
from controlplane.fleet.view import View, instant, rfc3339
from controlplane.store.audit import audit
from controlplane.store.backups.runs import BackupRun, BackupRunStore, JobRuns
from controlplane.store.database import Database
from controlplane.store.schedules import ScheduleState, ScheduleStore


class BackupRunView(View):
    """A run that ended."""

    started_at: str | None
    finished_at: str | None
    outcome: str
    """succeeded, failed or interrupted."""
    asked_by: str | None
    """Name of the person that asked for it; null: the calendar."""
    snapshot: str | None
    bytes: int | None
    new_bytes: int | None
    seconds: float | None
    words: str
    """Reason of a failure, or notes on a good run."""


class OpenRunView(View):
    """A run that waits or runs."""

    state: Literal["waiting", "running"]
    asked_at: str
    asked_by: str | None
    started_at: str | None
    done_bytes: int
    total_bytes: int | None
    """Bytes of the source; null: not known yet."""
    bytes_per_second: float | None
    """Mean of the run so far, with what did not change; null: not known yet."""
    left_seconds: float | None
    """Time left at that rate; null: not known yet."""


class BackupJobView(View):
    """One backup job, the verification, or the drill of a job."""

    job: str
    source: str
    """The folder; `control plane`; of the verification the address of the repository; of a drill the snapshot."""
    subject: str | None
    cron: str
    timezone: str
    next_at: str | None
    """The next calendar time; in the past while the job is overdue."""
    open: OpenRunView | None
    last: BackupRunView | None
    good_at: str | None
    """End of the newest run that succeeded."""
    snapshot_at: str | None
    """Time of the newest snapshot that a run of the job made, by the repository's clock."""
    age_seconds: float | None
    """Age of the newest good run; null: there is none."""
    waiting_since: str | None
    """Without a good run: when the job was first seen."""
    max_age_seconds: float | None
    """null for the verification."""
    too_old: bool
    missed: int
    """Calendar times that passed without a run."""


@dataclass(frozen=True)
class BackupJobs:
    """The jobs of a configuration with their times, by name."""

    section: BackupSection | None
    times: Mapping[str, Timetable]


class BackupDesk:
    """Answers questions about backups, and accepts wishes. Blocking; every method raises Unavailable."""

    def __init__(
        self,
        db: Database,
        jobs: Callable[[], BackupJobs],
        now: Callable[[], float],
        *,
        stored_as: str,
        observe_only: bool,
        watch: RoomWatch | None = None,
    ) -> None:
        """`stored_as` begins the names under which the times of jobs are stored."""
        self._watch = watch or RoomWatch()
        self._db, self._jobs, self._now, self._prefix, self._observe_only = db, jobs, now, stored_as, observe_only
        self._runs, self._states = BackupRunStore(db), ScheduleStore(db)

    def views(self) -> Sequence[BackupJobView]:
        """Return the configured jobs in the order of the file, then the verification and the drills."""
        jobs = self._jobs()
        if jobs.section is None:
            return []
        return backup_views(jobs, self._runs.jobs(), self._states.all(), self._prefix, self._now())

    def runs(self, job: str, limit: int) -> Sequence[BackupRunView]:
        """Return the newest runs of a job that ended, the newest first. Raises NotFound for an unknown job."""
        self._check(job)
        found = self._runs.runs(job, limit + 1)  # one of them may be open
        return [_ended(run) for run in found if run.outcome is not None][:limit]

    def room(self) -> Room | None:
        """Return the space of the repository's file system; None: it is in an object store, or not known now."""
        section = self._jobs().section
        return None if section is None else self._watch.room(section.repository)

    def ask(self, job: str, by: str) -> BackupJobView:
        """Ask for a run of a job now, and return the job.

        Raises NotFound for a job that fleet.yaml does not have, and Conflict while a run waits or runs, or while this
        control plane only observes.
        """
        self._check(job)
        if self._observe_only:
            raise Conflict("this control plane only observes, so it makes no backups")
        with self._db.transaction() as session:
            self._runs.ask(job, by, self._now(), session)
            audit(session, by, "backup.run", f"backup/{job}", "", self._now())
        for view in self.views():
            if view.job == job:
                return view
        raise NotFound(f"the backup {job} is no longer in fleet.yaml: it was removed while the run was asked for")

    def _check(self, job: str) -> None:
        times = self._jobs().times
        if job not in times:
            raise NotFound(f"there is no backup {job}; fleet.yaml declares {', '.join(times) or 'none'}")


def backup_views(
    jobs: BackupJobs, stored: Mapping[str, JobRuns], states: Mapping[str, ScheduleState], prefix: str, now: float
) -> Sequence[BackupJobView]:
    """Return the jobs of a configuration as they are at `now`. Pure."""
    section = jobs.section
    assert section is not None
    rows: list[tuple[str, str, str | None, float | None]] = []
    for job in section.jobs:
        source = "control plane" if job.folder is None else str(job.folder)
        rows.append((job.name, source, job.about, job.max_age))
    if section.verify is not None:
        rows.append((VERIFY, section.repository, None, None))
    if section.drill is not None:
        rows += [
            (f"{DRILL}{job.name}", f"newest snapshot of {job.name}", job.about, section.drill.max_age)
            for job in section.drilled
        ]
    found = []
    for name, source, subject, max_age in rows:
        runs, times, state = stored.get(name, JobRuns()), jobs.times[name], states.get(f"{prefix}{name}")
        good = runs.good.finished_at if runs.good is not None else None
        since = good if good is not None else _first_seen(runs, state)
        found.append(
            BackupJobView(
                job=name,
                source=source,
                subject=subject,
                cron=times.calendar.cron,
                timezone=times.calendar.timezone,
                next_at=rfc3339(times.calendar.next_after(state.done_to if state else now)),
                open=None if runs.open is None else _open(runs.open, now),
                last=None if runs.last is None else _ended(runs.last),
                good_at=rfc3339(good),
                snapshot_at=rfc3339(runs.good.snapshot_at) if runs.good is not None else None,
                age_seconds=None if good is None else max(0.0, now - good),
                waiting_since=rfc3339(since) if good is None else None,
                max_age_seconds=max_age,
                too_old=max_age is not None and since is not None and now - since > max_age,
                missed=state.missed if state else 0,
            )
        )
    return found


def _first_seen(runs: JobRuns, state: ScheduleState | None) -> float | None:
    """Return when a job without a good run was first seen, as far as it is stored."""
    known = [at for at in (runs.first_at, state.done_to if state else None) if at is not None]
    return min(known, default=None)


def _open(run: BackupRun, now: float) -> OpenRunView:
    lasted = 0.0 if run.started_at is None else now - run.started_at
    rate = run.done / lasted if run.done > 0 and lasted > 0 else None
    return OpenRunView(
        state="waiting" if run.started_at is None else "running",
        asked_at=instant(run.asked_at),
        asked_by=run.asked_by or None,
        started_at=rfc3339(run.started_at),
        done_bytes=run.done,
        total_bytes=run.total or None,
        bytes_per_second=rate,
        left_seconds=None if rate is None or not run.total else max(0, run.total - run.done) / rate,
    )


def _ended(run: BackupRun) -> BackupRunView:
    return BackupRunView(
        started_at=rfc3339(run.started_at),
        finished_at=rfc3339(run.finished_at),
        outcome=run.outcome or "unknown",
        asked_by=run.asked_by or None,
        snapshot=run.snapshot or None,
        bytes=run.bytes,
        new_bytes=run.new_bytes,
        seconds=run.seconds,
        words=run.words,
    )
