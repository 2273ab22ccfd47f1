"""The processes that share this database, and what the one that alerts says of its rules."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class ReplicaRow(SQLModel, table=True):
    """One running process. Rows are deleted some time after they were last written."""

    __tablename__ = "replica"

    holder: str = Field(primary_key=True)
    """Its name in the leases."""
    seen_at: float
    """On the database's clock."""
    ahead_s: float
    """How far its clock was ahead of the database's then."""
    epoch: int
    """Of its newest tenure of the lease for alerting; 0: it had none."""
    has_left: bool
    """It ended by itself, and is here for its clock only."""


class RuleReportRow(SQLModel, table=True):
    """How a group's alerting rules were last evaluated, by the process that evaluates them."""

    __tablename__ = "rule_report"

    rule_group: str = Field(primary_key=True)
    """The group's key."""
    holder: str
    at: float
    """When this was written, on the holder's clock."""
    rules: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
    """By rule id: health, last_error, last_evaluation, evaluation_s."""
