"""Alerts that other senders sent, as they were last received."""

from __future__ import annotations

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class ReceivedAlertRow(SQLModel, table=True):
    """One label set. Times are unix seconds on the clock that all processes on the database share.

    Invariant: `seq` grows with every change, and changes become visible in its order.
    """

    __tablename__ = "received_alert"

    fingerprint: str = Field(primary_key=True)
    seq: int = Field(index=True)
    labels: dict[str, str] = Field(sa_column=Column(StoredJson, nullable=False))
    annotations: dict[str, str] = Field(sa_column=Column(StoredJson, nullable=False))
    sender: str
    starts_at: float
    ends_at: float
    updated_at: float
    timeout: bool
    generator_url: str
