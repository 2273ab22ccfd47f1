"""Queries of the outbox about what was delivered, and what was not."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import and_, func, or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from controlplane.store.tables.outbox import OutboxRow

QUEUED, SENT, DEAD = "queued", "sent", "dead"


class Receipts(NamedTuple):
    """Outcome of the stored messages of one receiver."""

    last_sent_at: float | None = None
    """Unix second of the last delivery; None: none is stored."""
    waiting: int = 0
    given_up: int = 0


def troubled() -> SelectOfScalar[OutboxRow]:
    """Return the query of the messages that were given up, then of those whose last attempt failed, newest first."""
    failed = and_(col(OutboxRow.status) == QUEUED, col(OutboxRow.error).is_not(None))
    order = (col(OutboxRow.status), col(OutboxRow.id).desc())  # "dead" sorts before "queued"
    return select(OutboxRow).where(or_(col(OutboxRow.status) == DEAD, failed)).order_by(*order)


def receipts_by_receiver(session: Session) -> dict[str, Receipts]:
    """Return the outcome of each receiver's messages, as far as they are stored."""
    counted = select(OutboxRow.receiver, OutboxRow.status, func.count(), func.max(OutboxRow.finished_at)).group_by(
        OutboxRow.receiver, OutboxRow.status
    )
    found: dict[str, Receipts] = {}
    for receiver, status, count, at in session.exec(counted).all():
        had = found.get(receiver, Receipts())
        if status == SENT:
            had = had._replace(last_sent_at=at)
        elif status == DEAD:
            had = had._replace(given_up=count)
        else:
            had = had._replace(waiting=had.waiting + count)
        found[receiver] = had
    return found
