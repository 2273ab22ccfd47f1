"""The audit trail: who did what to which thing."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete
from sqlmodel import Session, col, select

from controlplane.store.database import Database
from controlplane.store.tables.audit import AuditRow


class AuditEntry(NamedTuple):
    """One act. `at` is unix seconds."""

    id: int
    at: float
    actor: str
    """The token's name, or the control plane's loop that acted."""
    action: str
    """What was done, as `noun.verb`: rollout.start, token.revoke."""
    subject: str
    """To what, as `kind/name`: model/chat, token/3f2a9c10."""
    detail: str
    """A sentence that a person can read. Never a secret."""


def audit(session: Session, actor: str, action: str, subject: str, detail: str, at: float) -> None:
    """Record an act in the transaction that carries it out: neither happens without the other."""
    session.add(AuditRow(at=at, actor=actor, action=action, subject=subject, detail=detail))


class AuditStore:
    """Reads the trail, and drops what strangers made it grow by."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def recent(self, limit: int, subject: str | None = None) -> list[AuditEntry]:
        """Return the newest acts first, of one subject only if named."""
        query = select(AuditRow).order_by(col(AuditRow.id).desc()).limit(limit)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        with self._db.reading() as session:
            return [_entry(row) for row in session.exec(query)]

    def since(self, after: int, limit: int) -> list[AuditEntry]:
        """Return the acts after the one of id `after`, oldest first."""
        query = select(AuditRow).where(col(AuditRow.id) > after).order_by(col(AuditRow.id)).limit(limit)
        with self._db.reading() as session:
            return [_entry(row) for row in session.exec(query)]

    def prune(self, action: str, before: float) -> int:
        """Delete the acts of one kind that are older than `before` (unix seconds); return how many went."""
        old = delete(AuditRow).where(col(AuditRow.action) == action, col(AuditRow.at) < before)
        with self._db.transaction() as session:
            return len(session.execute(old.returning(col(AuditRow.id))).all())


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(row.id or 0, row.at, row.actor, row.action, row.subject, row.detail)
