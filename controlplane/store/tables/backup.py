"""Runs of backups: which ran, how each ended, and those that people asked for."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field, SQLModel

OPEN = text("outcome IS NULL")


class BackupRunRow(SQLModel, table=True):
    """One run. The meaning of the columns is that of store.backup_runs.BackupRun."""

    __tablename__ = "backup_run"
    __table_args__ = (
        Index("ix_backup_run_job", "job", "id"),
        # A job has one run at most that waits or runs, whichever process asks for it.
        Index("uq_backup_run_open", "job", unique=True, sqlite_where=OPEN, postgresql_where=OPEN),
    )

    id: int | None = Field(default=None, primary_key=True)
    job: str
    asked_at: float
    asked_by: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    outcome: str | None = None
    done: int = Field(default=0, sa_type=BigInteger)
    total: int = Field(default=0, sa_type=BigInteger)
    snapshot: str = ""
    snapshot_at: float | None = None
    bytes: int | None = Field(default=None, sa_type=BigInteger)
    new_bytes: int | None = Field(default=None, sa_type=BigInteger)
    seconds: float | None = None
    words: str = ""
