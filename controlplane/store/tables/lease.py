"""Leases: which process runs which loop."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class LeaseRow(SQLModel, table=True):
    """One lease. Invariant: `epoch` never falls, and two tenures never share an epoch."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    """Name of the holding process; empty when released."""
    epoch: int
    expires_at: float
    """Unix seconds on the database's clock."""
