"""The processes that share this database, and the leader's reports on alerting rules."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class ReplicaRow(SQLModel, table=True):
    """One running process. Rows are deleted some time after they were last written."""

    __tablename__ = "replica"

    holder: str = Field(primary_key=True)
    """The process's name in the leases."""
    seen_at: float
    """Unix seconds on the database's clock."""
    ahead_s: float
    """Seconds by which the process's clock was ahead of the database's at `seen_at`."""
    epoch: int
    """Epoch of the process's newest tenure of the lease for alerting; 0: it had none."""
    has_left: bool
    """Whether the process ended in order. Its row is then kept only for `ahead_s`."""


class RuleReportRow(SQLModel, table=True):
    """The leader's report on the last evaluation of a group's alerting rules."""

    __tablename__ = "rule_report"

    rule_group: str = Field(primary_key=True)
    """The group's key."""
    holder: str
    at: float
    """Time of the report in unix seconds, on the holder's clock."""
    rules: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
    """By rule id: health, last_error, last_evaluation, evaluation_s."""
