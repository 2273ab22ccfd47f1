"""Copies of unreadable rows, made before a write replaces them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete, text
from sqlmodel import Session, SQLModel, col, select

from controlplane.store.database import Database, database_now
from controlplane.store.stored import Damaged, UnreadRow
from controlplane.store.tables.unreadable import UnreadableRow

TOLD_S = 24 * 3600.0
"""Seconds for which a copied row is reported. Chosen."""
MOST = 1000
"""Maximum number of copied rows in a report. Chosen."""
_ANY = text("SELECT 1 FROM unreadable LIMIT 1")


def preserve(session: Session, row: SQLModel, key: str, reason: str) -> None:
    """Copy a row to the table `unreadable`, in the transaction that overwrites or deletes it."""
    columns = {column.name: getattr(row, column.name) for column in row.__table__.columns}  # type: ignore[attr-defined]
    kept = UnreadableRow(
        at=database_now(session),
        source=str(row.__tablename__),
        key=key,
        reason=reason,
        document=json.dumps(columns, default=_as_text),
    )
    session.add(kept)


def report(db: Database, now: float) -> list[UnreadRow]:
    """Return the unreadable rows, and those that were copied and replaced in the last day. Raises Unavailable."""
    found = {(row.table, row.key): row for row in db.unread.rows()}
    # The usual case: the control plane's own metrics ask at every scrape.
    if db.first(_ANY) is None:
        return [row for _, row in sorted(found.items())]
    with db.reading() as session:
        recent = select(UnreadableRow).where(col(UnreadableRow.at) > now - TOLD_S).order_by(col(UnreadableRow.id))
        for kept in session.exec(recent.limit(MOST)):
            found.setdefault((kept.source, kept.key), UnreadRow(kept.source, kept.key, kept.reason))
    return [row for _, row in sorted(found.items())]


def prune(db: Database, before: float) -> int:
    """Delete rows that were copied before a time. Return how many."""
    with db.transaction() as session:
        gone = delete(UnreadableRow).where(col(UnreadableRow.at) < before).returning(col(UnreadableRow.id))
        return len(session.execute(gone).all())


def _as_text(value: Any) -> str:
    return value.text if isinstance(value, Damaged) else repr(value)
