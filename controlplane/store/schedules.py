"""The calendar's jobs as stored: up to when each has run, and how the last run ended. All replicas share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

from controlplane.plain_text import plain
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.tables.schedule import ScheduleRow

AHEAD_S = 86400.0
"""A run that is recorded further in the future was recorded by a clock that was wrong."""


class RunOutcome(StrEnum):
    """Result of a run."""

    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class ScheduleState:
    """One job. Times are unix seconds; None: the job has not run yet."""

    name: str
    calendar: str
    """The calendar that `done_to` was written for, as text."""
    done_to: float
    """Calendar times up to and including this one need no run any more."""
    due_at: float | None = None
    """Calendar time of the last run."""
    started_at: float | None = None
    finished_at: float | None = None
    outcome: str | None = None
    """One of RunOutcome. A later release may write another word."""
    error: str | None = None
    """Reason of a failed run."""
    runs: int = 0
    """Runs that ended, whatever their outcome."""
    failures: int = 0
    missed: int = 0
    """Calendar times at which no process ran, and which were not made up for."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Values that the last successful run left for the next one."""


class ScheduleStore:
    """Reads and writes the jobs' states. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def open(self, name: str, calendar: str, now: float) -> ScheduleState:
        """Return a job's state. A job that is new, or has a new calendar, has nothing to make up for before `now`."""
        with self._db.transaction() as session:
            insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
            new = ScheduleState(name, calendar, now)
            session.execute(insert(ScheduleRow).values(**asdict(new)).on_conflict_do_nothing())
            row = session.exec(select(ScheduleRow).where(ScheduleRow.name == name).with_for_update()).one()
            if row.calendar != calendar or row.done_to > now + AHEAD_S:
                row.calendar, row.done_to = calendar, now
                session.add(row)
            return _state(row)

    def save(self, state: ScheduleState, lease: Lease) -> None:
        """Write a job's state. Raises LeaseLost: another process runs the job by now, and nothing was written."""
        with self._db.transaction() as session:
            check_lease(session, lease)
            values = asdict(state)
            values["error"] = None if state.error is None else plain(state.error)
            session.merge(ScheduleRow(**values))

    def all(self) -> dict[str, ScheduleState]:
        """Return the states by name, also of jobs that are no longer configured."""
        with self._db.reading() as session:
            return {row.name: _state(row) for row in session.exec(select(ScheduleRow).order_by(col(ScheduleRow.name)))}


def _state(row: ScheduleRow) -> ScheduleState:
    values = {column.name: getattr(row, column.name) for column in fields(ScheduleState)}
    # Damaged notes count as none: the job then runs as for the first time.
    values["notes"] = values["notes"] if isinstance(values["notes"], dict) else {}
    return ScheduleState(**values)
