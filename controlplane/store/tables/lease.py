"""Which process runs which loop."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class LeaseRow(SQLModel, table=True):
    """One lease. Invariant: `epoch` never falls, and two tenures never share one."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    """Empty when released."""
    epoch: int
    expires_at: float
    """On the database's clock."""
