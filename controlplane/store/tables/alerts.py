"""Alert instances, their transitions, and the groups of notifications."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class AlertInstanceRow(SQLModel, table=True):
    """One label set of one alerting rule. An inactive instance stays until its resolved notification is sent."""

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
    """Targets, as `job/instance`, that are down and without which the alert's state is unknown."""
    changes: list[float] | None = Field(default=None, sa_column=Column(StoredJson(none_as_null=True), nullable=True))
    """Times at which it began and ceased to fire before this episode. NULL: none."""
    format: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Format number of the row. The columns alone do not show which release wrote them."""


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
    """The alert after the transition. It can be shown when the alert's own row is gone."""


class AlertGroupRow(SQLModel, table=True):
    """The last notification of one group to one receiver. Invariant: `generation` grows each time the group reopens."""

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
    held: list[str] = Field(default_factory=list, sa_column=Column(StoredJson, nullable=False, server_default="[]"))
    """Fingerprints of those of them that were held back at the last decision."""
    flaps: list[dict[str, Any]] = Field(
        default_factory=list, sa_column=Column(StoredJson, nullable=False, server_default="[]")
    )
    """Those of them that the last message called flapping."""
    root_place: str | None = None
    """Place of the first message of this generation."""
    format: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Format number of the row. The columns alone do not show which release wrote them."""
