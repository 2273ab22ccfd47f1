"""Rows that no release could read at their time, as they were when another one took their place."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class UnreadableRow(SQLModel, table=True):
    """One row of another table, kept for whoever can read it. Rows are only ever added, and pruned by age."""

    __tablename__ = "unreadable"

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    source: str
    """The table that it was in."""
    key: str
    reason: str
    document: str
    """Its columns as a JSON object; a column whose JSON was damaged is a text."""
