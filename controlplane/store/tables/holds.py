"""Silences and acknowledgements: what people decided about alerts."""

from __future__ import annotations

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class SilenceRow(SQLModel, table=True):
    """One silence. Rows are pruned some days after their end."""

    __tablename__ = "silence"

    id: str = Field(primary_key=True)
    matchers: list[dict[str, str]] = Field(sa_column=Column(StoredJson, nullable=False))
    """Each with name, op and value."""
    starts_at: float
    ends_at: float = Field(index=True)
    created_at: float
    created_by: str
    owner: str
    """Name of the token or the person that made it. `created_by` is the name that Alertmanager's clients give."""
    comment: str
    updated_at: float
    reminders: int = 0
    """Number of reminders that were queued."""
    reminded_at: float | None = None
    """Time of the reminder of this end. NULL: none was queued, or the end was moved since."""
    idempotency_key: str | None = Field(default=None, unique=True)
    request: str = ""
    """Text that the idempotency key is bound to."""
    format: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Format number of the row. The columns alone do not show which release wrote them."""


class AcknowledgementRow(SQLModel, table=True):
    """The last acknowledgement of one alert. It holds for one episode of the alert."""

    __tablename__ = "acknowledgement"

    fingerprint: str = Field(primary_key=True)
    fired_at: float
    by: str
    at: float
    until: float | None = None
    comment: str
    format: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Format number of the row. The columns alone do not show which release wrote them."""
