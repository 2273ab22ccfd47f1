"""Revisions: numbered changes by any process. The console's event stream consists of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import delete, event, func, insert, text
from sqlalchemy.sql.functions import Function
from sqlmodel import Session, col, select

from controlplane.store.database import Database, database_now
from controlplane.store.tables.revision import RevisionRow

_PENDING = "controlplane_revisions"
_ORDER_LOCK = 0x63705F726576
"""Key of the PostgreSQL advisory lock that orders revisions ("cp_rev")."""


class Revision(NamedTuple):
    """One change of data that the console shows. `at` is unix seconds on the database's clock."""

    id: int
    kind: str
    """alerts, rollouts, models, targets, config, gateways, traffic or keys."""
    ref: str
    """The id of the thing that changed, or "" for any thing of the kind."""
    at: float


def touch(session: Session, kind: str, ref: str = "") -> None:
    """Note that this transaction changes data that the console shows. Repetitions in a transaction count once.

    The revision is written when the transaction commits, and never when it rolls back.
    """
    if _PENDING not in session.info:
        session.info[_PENDING] = {}
        event.listen(session, "before_commit", _write)
    session.info[_PENDING][(kind, ref)] = None


def _write(session: Session) -> None:
    pending = session.info[_PENDING]
    if not pending or session.in_nested_transaction():
        return
    if session.get_bind().dialect.name == "postgresql":
        # Invariant: ids become visible in their order. Without the lock a later id could commit first, and a reader
        # of it would never see the earlier one. The lock is taken last, just before the commit: no deadlocks.
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ORDER_LOCK})
    at = database_now(session)
    session.connection().execute(insert(RevisionRow), [{"kind": kind, "ref": ref, "at": at} for kind, ref in pending])
    pending.clear()


class RevisionStore:
    """Reads revisions."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def since(self, rev: int, limit: int = 1000) -> list[Revision]:
        """Return the changes after `rev`, oldest first, at most `limit`."""
        with self._db.reading() as session:
            query = select(RevisionRow).where(col(RevisionRow.id) > rev).order_by(col(RevisionRow.id)).limit(limit)
            return [Revision(r.id or 0, r.kind, r.ref, r.at) for r in session.exec(query)]

    def latest(self) -> int:
        """Return the newest id, or 0 before the first change."""
        return self._edge(func.max(col(RevisionRow.id)))

    def oldest(self) -> int:
        """Return the oldest stored id, or 0. A reader that has not seen id `oldest() - 1` must read everything anew."""
        return self._edge(func.min(col(RevisionRow.id)))

    def prune(self, keep: int) -> int:
        """Delete all but the newest `keep` revisions (at least one stays, for its id). Return how many."""
        with self._db.transaction() as session:
            newest = session.execute(select(func.max(col(RevisionRow.id)))).scalar_one() or 0
            gone = (
                delete(RevisionRow).where(col(RevisionRow.id) <= newest - max(keep, 1)).returning(col(RevisionRow.id))
            )
            return len(session.execute(gone).all())

    def _edge(self, edge: Function[Any]) -> int:
        with self._db.reading() as session:
            return int(session.execute(select(edge)).scalar_one() or 0)
