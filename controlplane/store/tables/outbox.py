"""Messages to be sent, each stored in the transaction of the change that it reports, and the waits of receivers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Index
from sqlmodel import Field, SQLModel

from controlplane.store.stored import StoredJson


class OutboxRow(SQLModel, table=True):
    """One message. It is claimed by a conditional update; `attempts` is the fencing number of the claim."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "status", "next_attempt_at"), Index("ix_outbox_lane", "lane", "status"))

    id: int | None = Field(default=None, primary_key=True)
    message_id: str = Field(unique=True, index=True)
    kind: str
    receiver: str
    lane: str
    """Messages of one lane are sent one at a time and in order. Empty: the message is independent."""
    payload: dict[str, Any] = Field(sa_column=Column(StoredJson, nullable=False))
    status: str
    """queued, sent, dead, or held after a restoration."""
    attempts: int
    created_at: float
    next_attempt_at: float
    claimed_by: str | None = None
    claimed_until: float | None = None
    finished_at: float | None = None
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(StoredJson(none_as_null=True), nullable=True))
    error: str | None = None


class ReceiverWaitRow(SQLModel, table=True):
    """A receiver that asked to wait (Retry-After). No message of it is claimed before `until`."""

    __tablename__ = "receiver_wait"

    receiver: str = Field(primary_key=True)
    until: float
    """Unix seconds, on the clock that all senders share."""
