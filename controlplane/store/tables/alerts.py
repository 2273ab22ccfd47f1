"""Alerts as they stand, what happened to them, and the groups that people are told about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class AlertInstanceRow(SQLModel, table=True):
    """One label set of one alerting rule. Inactive ones stay until their resolved notice is over."""

    __tablename__ = "alert_instance"

    rule: str = Field(primary_key=True)
    fingerprint: str = Field(primary_key=True, index=True)
    name: str
    severity: str
    labels: dict[str, str] = Field(sa_column=Column(StoredJson, nullable=False))
    annotations: dict[str, str] = Field(sa_column=Column(StoredJson, nullable=False))
    state: str = Field(index=True)
    value: float | None = None
    """NULL: NaN, which SQLite cannot store."""
    active_at: float
    fired_at: float | None = None
    keep_firing_since: float | None = None
    resolved_at: float | None = None
    unknown_since: float | None = None
    away: list[str] = Field(default_factory=list, sa_column=Column(StoredJson, nullable=False, server_default="[]"))
    """Targets, as `job/instance`, without which nothing is known of it."""
    format: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Of what the row says; its columns alone do not tell which release wrote it."""


class AlertEventRow(SQLModel, table=True):
    """One transition of one alert. Rows are only ever added, and pruned by age."""

    __tablename__ = "alert_event"
    __table_args__ = (Index("ix_alert_event_fingerprint_at", "fingerprint", "at"),)

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    rule: str
    fingerprint: str
    name: str
    before: str
    after: str
    sentence: str
    instance: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
    """The alert as it was after the transition, so that a resolved one can be shown when its own row is gone."""


class AlertGroupRow(SQLModel, table=True):
    """What one receiver was last told about one group. Invariant: `generation` grows each time the group reopens."""

    __tablename__ = "alert_group"

    key: str = Field(primary_key=True)
    receiver: str
    labels: dict[str, str] = Field(sa_column=Column(StoredJson, nullable=False))
    generation: int
    sequence: int
    is_open: bool = Field(index=True)
    opened_at: float
    notified_at: float | None = None
    notified: list[dict[str, Any]] = Field(sa_column=Column(StoredJson, nullable=False))
    """The alerts that were firing in the last message."""
    root_place: str | None = None
    """Where the group's message is, of this generation."""
    format: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Of what the row says; its columns alone do not tell which release wrote it."""
