"""Runs of backup jobs as stored. All replicas share them: any replica accepts a wish, one carries it out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, delete, func, update
from sqlmodel import Session, col, select

from controlplane.errors import Conflict, NotFound
from controlplane.plain_text import plain
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.tables.backup import BackupRunRow

MOST_WORDS: Final = 2000
"""Characters of a run's words. Longer ones keep their end, where programs name the reason."""
KEPT: Final = 200
"""Runs of a job that housekeeping keeps. Chosen: half a year of daily runs."""
CUT_SHORT: Final = "the control plane ended while the backup ran"


class BackupOutcome(StrEnum):
    """Result of a run."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The control plane ended, or lost its lease, while it ran."""


@dataclass(frozen=True)
class BackupRun:
    """One run. Times are unix seconds."""

    id: int
    job: str
    asked_at: float
    asked_by: str = ""
    """Name of the person or job that asked for it. Empty: the calendar."""
    started_at: float | None = None
    """None: it waits."""
    finished_at: float | None = None
    outcome: str | None = None
    """One of BackupOutcome; None: it waits or runs. A later release may write another word."""
    done: int = 0
    """Bytes of the source that were read, or are known to be unchanged."""
    total: int = 0
    """Bytes of the source; 0: not known yet."""
    snapshot: str = ""
    """Id of the snapshot that it made; empty: none."""
    snapshot_at: float | None = None
    """Time of the snapshot by the repository's clock."""
    bytes: int | None = None
    new_bytes: int | None = None
    """Bytes that the snapshot added to the repository."""
    seconds: float | None = None
    words: str = ""
    """Reason of a failure, or what the operator should know of a good run."""

    @property
    def succeeded(self) -> bool:
        """Whether it made what it was for."""
        return self.outcome == BackupOutcome.SUCCEEDED


@dataclass(frozen=True)
class BackupResult:
    """The end of a run."""

    outcome: BackupOutcome
    words: str = ""
    snapshot: str = ""
    snapshot_at: float | None = None
    bytes: int | None = None
    new_bytes: int | None = None


@dataclass(frozen=True)
class JobRuns:
    """Runs that are stored of one job."""

    last: BackupRun | None = None
    """The newest run that ended."""
    good: BackupRun | None = None
    """The newest run that succeeded."""
    open: BackupRun | None = None
    """The run that waits or runs."""
    first_at: float | None = None
    """Time of the oldest run that is still kept."""


class BackupRunStore:
    """Reads and writes runs. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def ask(self, job: str, by: str, now: float, session: Session | None = None) -> BackupRun:
        """Store the wish for a run, in the caller's transaction if there is one. Raises Conflict while one is open."""
        if session is not None:
            return _ask(session, job, by, now)
        with self._db.transaction() as own:
            return _ask(own, job, by, now)

    def wanted(self) -> list[BackupRun]:
        """Return the runs that wait, the oldest first."""
        with self._db.reading() as session:
            waiting = col(BackupRunRow.outcome).is_(None) & col(BackupRunRow.started_at).is_(None)
            return [_run(row) for row in session.exec(select(BackupRunRow).where(waiting).order_by(_ID))]

    def begin(self, job: str, lease: Lease | None, now: float) -> BackupRun:
        """Begin a run of a job: the one that waits, or a new one. Raises LeaseLost, and Conflict while one runs."""
        with self._db.transaction() as session:
            check_lease(session, lease)
            row = session.exec(select(BackupRunRow).where(_open(job))).one_or_none()
            if row is not None and row.started_at is not None:
                raise Conflict(f"a run of the backup {job} is under way already")
            row = row or BackupRunRow(job=job, asked_at=now)
            row.started_at = now
            session.add(row)
            session.flush()
            return _run(row)

    def progress(self, run: int, done: int, total: int, lease: Lease | None) -> None:
        """Write how far a run is, in bytes. Raises LeaseLost: this process may not go on with it."""
        with self._db.transaction() as session:
            check_lease(session, lease)
            session.execute(update(BackupRunRow).where(col(BackupRunRow.id) == run).values(done=done, total=total))

    def finish(self, run: int, result: BackupResult, lease: Lease | None, now: float) -> BackupRun:
        """Write the end of a run. Raises LeaseLost, and NotFound for a run that is not open."""
        with self._db.transaction() as session:
            check_lease(session, lease)
            still = (col(BackupRunRow.id) == run) & col(BackupRunRow.outcome).is_(None)
            row = session.exec(select(BackupRunRow).where(still)).one_or_none()
            if row is None:
                raise NotFound(f"no run {run} of a backup is open")
            row.finished_at, row.outcome = now, result.outcome.value
            row.seconds = None if row.started_at is None else max(0.0, now - row.started_at)
            row.snapshot, row.snapshot_at = result.snapshot, result.snapshot_at
            row.bytes, row.new_bytes = result.bytes, result.new_bytes
            row.words = bounded(result.words)
            session.add(row)
            session.flush()
            return _run(row)

    def interrupt_left(self, lease: Lease | None, now: float) -> list[str]:
        """End the runs that a process left when it ended. Return their jobs. Raises LeaseLost.

        Only the holder of the lease may call it, while it runs none itself.
        """
        with self._db.transaction() as session:
            check_lease(session, lease)
            left = col(BackupRunRow.outcome).is_(None) & col(BackupRunRow.started_at).is_not(None)
            end = {"outcome": BackupOutcome.INTERRUPTED.value, "finished_at": now, "words": CUT_SHORT}
            done = update(BackupRunRow).where(left).values(**end).returning(col(BackupRunRow.job))
            return sorted(session.execute(done).scalars().all())

    def jobs(self) -> dict[str, JobRuns]:
        """Return what is stored of each job, by name, also of jobs that are no longer configured."""
        ended, good = col(BackupRunRow.outcome).is_not(None), _GOOD
        with self._db.reading() as session:
            last, best = _newest(session, ended), _newest(session, good)
            opened = {row.job: _run(row) for row in session.exec(select(BackupRunRow).where(~ended))}
            oldest = select(BackupRunRow.job, func.min(BackupRunRow.asked_at)).group_by(BackupRunRow.job)
            first = dict(session.exec(oldest).all())
        return {job: JobRuns(last.get(job), best.get(job), opened.get(job), at) for job, at in sorted(first.items())}

    def runs(self, job: str, limit: int) -> list[BackupRun]:
        """Return the newest runs of a job, the newest first."""
        with self._db.reading() as session:
            query = select(BackupRunRow).where(col(BackupRunRow.job) == job).order_by(_ID.desc()).limit(limit)
            return [_run(row) for row in session.exec(query)]

    def prune(self, keep: int = KEPT) -> int:
        """Delete all but the newest `keep` runs of each job, its newest good run and what is open. Return how many."""
        with self._db.transaction() as session:
            rank = func.row_number().over(partition_by=col(BackupRunRow.job), order_by=_ID.desc())
            ranked = select(BackupRunRow.id, rank.label("rank")).subquery()
            best = select(func.max(BackupRunRow.id)).where(_GOOD).group_by(BackupRunRow.job)
            old = delete(BackupRunRow).where(
                _ID.in_(select(ranked.c.id).where(ranked.c.rank > keep)),
                _ID.not_in(best),
                col(BackupRunRow.outcome).is_not(None),
            )
            return len(session.execute(old.returning(_ID)).all())


_ID = col(BackupRunRow.id)
_GOOD = col(BackupRunRow.outcome) == BackupOutcome.SUCCEEDED.value


def bounded(words: str) -> str:
    """Return words as they are stored: with control characters escaped, and only the end of long ones."""
    shown = plain(" ".join(words.split()))
    return shown if len(shown) <= MOST_WORDS else f"… {shown[2 - MOST_WORDS :]}"


def _ask(session: Session, job: str, by: str, now: float) -> BackupRun:
    row = session.exec(select(BackupRunRow).where(_open(job))).one_or_none()
    if row is not None:
        what = "waits" if row.started_at is None else "is under way"
        raise Conflict(f"a run of the backup {job} {what} already; wait for its end")
    row = BackupRunRow(job=job, asked_at=now, asked_by=by)
    session.add(row)
    session.flush()
    return _run(row)


def _open(job: str) -> ColumnElement[bool]:
    return (col(BackupRunRow.job) == job) & col(BackupRunRow.outcome).is_(None)


def _newest(session: Session, wanted: ColumnElement[bool]) -> dict[str, BackupRun]:
    ids = select(func.max(BackupRunRow.id)).where(wanted).group_by(BackupRunRow.job)
    return {row.job: _run(row) for row in session.exec(select(BackupRunRow).where(_ID.in_(ids)))}


def _run(row: BackupRunRow) -> BackupRun:
    return BackupRun(**{column.name: getattr(row, column.name) for column in fields(BackupRun)})
