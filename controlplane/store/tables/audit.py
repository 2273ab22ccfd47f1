"""Who did what, when."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class AuditRow(SQLModel, table=True):
    """One act of a person, a token or the control plane itself. Rows stay, but for refusals."""

    __tablename__ = "audit"

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    actor: str
    action: str
    subject: str = Field(index=True)
    detail: str
