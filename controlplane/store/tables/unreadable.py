"""Copies of unreadable rows, made when a write replaced them."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class UnreadableRow(SQLModel, table=True):
    """A copy of one row of another table. Rows are only added, and pruned by age."""

    __tablename__ = "unreadable"

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    source: str
    """The table of the row."""
    key: str
    reason: str
    document: str
    """The row's columns as a JSON object. A column whose JSON was damaged is a text."""
