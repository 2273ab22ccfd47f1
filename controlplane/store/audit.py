"""The audit trail: actor, action and subject of each act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, literal_column
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from controlplane.store.database import Database
from controlplane.store.tables.audit import REFUSED, AuditRow

__all__ = ["EVERY_ACT", "MAX_ID", "REFUSED", "AuditEntry", "AuditFilter", "AuditStore", "audit", "newest"]

MAX_ID = 2**31 - 1
"""Maximum of PostgreSQL's `integer`. PostgreSQL refuses to compare an id with a larger number."""


class AuditEntry(NamedTuple):
    """One act. `at` is unix seconds."""

    id: int
    at: float
    actor: str
    """The token's name, or the control plane's loop that acted."""
    action: str
    """The action as `noun.verb`: rollout.start, token.revoke."""
    subject: str
    """The subject as `kind/name`: model/chat, token/3f2a9c10."""
    detail: str
    """A sentence for a person. It never holds a secret."""


class AuditFilter(NamedTuple):
    """Filter of acts. A field that is not set matches every act; an act must match all fields."""

    actor: str | None = None
    actions: Sequence[str] = ()
    """Any of these."""
    subject: str | None = None
    since: float | None = None
    """Unix seconds: acts of this instant and later."""
    until: float | None = None
    """Unix seconds: acts before this instant."""
    ids: Sequence[int] = ()
    """Any of these."""
    refusals: bool = True
    """False leaves out attempts that were refused (REFUSED)."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on a row."""
        found: list[ColumnElement[bool]] = []
        if self.actor is not None:
            found.append(col(AuditRow.actor) == self.actor)
        if self.actions:
            found.append(col(AuditRow.action).in_(self.actions))
        if self.subject is not None:
            found.append(col(AuditRow.subject) == self.subject)
        if self.since is not None:
            found.append(col(AuditRow.at) >= self.since)
        if self.until is not None:
            found.append(col(AuditRow.at) < self.until)
        if self.ids:
            found.append(col(AuditRow.id).in_(self.ids))
        if not self.refusals:
            # A constant and not a parameter: otherwise the planner does not use the index ix_audit_not_refused.
            found.append(col(AuditRow.action) != literal_column(f"'{REFUSED}'"))
        return found


EVERY_ACT = AuditFilter()


def audit(session: Session, actor: str, action: str, subject: str, detail: str, at: float) -> None:
    """Record an act in the transaction that carries it out, so that neither happens without the other."""
    session.add(AuditRow(at=at, actor=actor, action=action, subject=subject, detail=detail))


def newest(limit: int, wanted: AuditFilter, before: int | None) -> SelectOfScalar[AuditRow]:
    """Return the query of one page, the newest acts first."""
    query = select(AuditRow).where(*wanted.conditions()).order_by(col(AuditRow.id).desc()).limit(limit)
    return query if before is None else query.where(col(AuditRow.id) < before)


class AuditStore:
    """Reads the audit trail, and prunes refused attempts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def recent(self, limit: int, wanted: AuditFilter = EVERY_ACT, before: int | None = None) -> list[AuditEntry]:
        """Return the newest acts first. With `before`, return only acts whose id is below it.

        Ids grow and acts never change: the last id of a page is the `before` of the next page.
        """
        with self._db.reading() as session:
            return [_entry(row) for row in session.exec(newest(limit, wanted, before))]

    def since(self, after: int, limit: int) -> list[AuditEntry]:
        """Return the acts after the one of id `after`, oldest first."""
        query = select(AuditRow).where(col(AuditRow.id) > after).order_by(col(AuditRow.id)).limit(limit)
        with self._db.reading() as session:
            return [_entry(row) for row in session.exec(query)]

    def prune(self, action: str, before: float) -> int:
        """Delete the acts with this action that are older than `before` (unix seconds). Return how many."""
        old = delete(AuditRow).where(col(AuditRow.action) == action, col(AuditRow.at) < before)
        with self._db.transaction() as session:
            return len(session.execute(old.returning(col(AuditRow.id))).all())


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(row.id or 0, row.at, row.actor, row.action, row.subject, row.detail)
