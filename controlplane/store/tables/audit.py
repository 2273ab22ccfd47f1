"""The audit trail: one row for each act."""

from __future__ import annotations

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

REFUSED = "token.refuse"
"""Action of a refused attempt. Only these rows can be caused in any number by clients without a token."""
_NOT_REFUSED = text(f"action <> '{REFUSED}'")


class AuditRow(SQLModel, table=True):
    """One act of a person, a token or the control plane itself. Only refusals are pruned."""

    __tablename__ = "audit"
    __table_args__ = (
        # Each index ends with the id: pages are read in its order. The last one skips refusals.
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
