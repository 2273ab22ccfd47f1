"""Heartbeats of other programs."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class HeartbeatRow(SQLModel, table=True):
    """The last heartbeat of one name. The meaning of the columns is that of store.alerting.heartbeats.Heartbeat."""

    __tablename__ = "heartbeat"

    name: str = Field(primary_key=True)
    at: float
    by: str = ""
    beats: int = 0
