"""Who did what, when."""

from __future__ import annotations

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

REFUSED = "token.refuse"
"""The action of an attempt that was refused: the only kind whose number strangers decide."""
_NOT_REFUSED = text(f"action <> '{REFUSED}'")


class AuditRow(SQLModel, table=True):
    """One act of a person, a token or the control plane itself. Rows stay, but for refusals."""

    __tablename__ = "audit"
    __table_args__ = (
        # Each ends with the id, in whose order pages are read. The last one finds what people did among refusals.
        Index("ix_audit_actor", "actor", "id"),
        Index("ix_audit_action", "action", "id"),
        Index("ix_audit_subject", "subject", "id"),
        Index("ix_audit_not_refused", "id", sqlite_where=_NOT_REFUSED, postgresql_where=_NOT_REFUSED),
    )

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    actor: str
    action: str
    subject: str
    detail: str
