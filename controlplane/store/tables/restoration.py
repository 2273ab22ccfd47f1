"""Restorations: which backup the database came from, and who let the control plane act again."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class RestorationRow(SQLModel, table=True):
    """One restoration of the whole database. While one is not released the control plane only observes."""

    __tablename__ = "restoration"

    id: int | None = Field(default=None, primary_key=True)
    snapshot: str
    taken_at: float
    """Unix seconds at which the backup was made."""
    restored_at: float
    released_at: float | None = None
    released_by: str = ""
