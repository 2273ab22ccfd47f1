"""Revisions: changes in the order of their commits, the source of the console's events."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class RevisionRow(SQLModel, table=True):
    """One change. Ids are never reused, not even after pruning: a console resumes after an id."""

    __tablename__ = "revision"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    ref: str
    at: float
