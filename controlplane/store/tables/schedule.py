"""The calendar's jobs: up to when each has run."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class ScheduleRow(SQLModel, table=True):
    """One job. The meaning of the columns is that of store.schedules.ScheduleState."""

    __tablename__ = "schedule"

    name: str = Field(primary_key=True)
    calendar: str
    done_to: float
    due_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    outcome: str | None = None
    error: str | None = None
    runs: int = 0
    failures: int = 0
    missed: int = 0
    notes: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
