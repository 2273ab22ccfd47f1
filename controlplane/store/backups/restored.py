"""A database that was restored from a backup: what it says of the world is old, so nothing acts on it unasked.

The restoration raises the epochs of leases and the generations of assignments above all that the lost database gave
away since the backup, and holds the messages that were not sent. The control plane only observes until an operator
releases the database: rollouts that ran stay as they were, and gateways keep the split that they have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import func, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from controlplane.errors import Conflict
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.outbox import OutboxStatus
from controlplane.store.tables.gateway import TrafficAssignmentRow
from controlplane.store.tables.lease import LeaseRow
from controlplane.store.tables.outbox import OutboxRow
from controlplane.store.tables.restoration import RestorationRow
from controlplane.store.tables.rollouts import RolloutRow

RAISED_BY: Final = 1_000_000
"""Added to epochs and generations. Chosen: more than a database hands out between two backups, and PostgreSQL's integer
has room for two thousand restorations."""
_DROPPED: Final = "dropped when the database was released after its restoration"


@dataclass(frozen=True)
class Hold:
    """A restoration that nobody has released yet."""

    snapshot: str
    taken_at: float
    """Unix seconds at which the backup was made."""
    restored_at: float
    messages: int
    """Messages that are held."""
    rollouts: int
    """Rollouts that ran when the backup was made."""
    dropped: int = 0
    """Messages that a release gave up."""

    @property
    def sentence(self) -> str:
        """Text for the log and for refusals: the things that are held, and the cure."""
        return (
            f"the database was restored from the backup {self.snapshot}: this control plane only observes;"
            f" {self.messages} messages and {self.rollouts} running rollouts are held, and gateways keep their split."
            " `controlplane backup release` and a restart let it act"
        )


def put_on_hold(session: Session, snapshot: str, taken_at: float, at: float) -> None:
    """Make a database that was just restored safe to start on, in the caller's transaction."""
    raised = {"epoch": col(LeaseRow.epoch) + RAISED_BY, "holder": "", "expires_at": 0.0}
    session.execute(update(LeaseRow).values(**raised))
    generation = col(TrafficAssignmentRow.generation) + RAISED_BY
    session.execute(update(TrafficAssignmentRow).values(generation=generation))
    waiting = col(OutboxRow.status) == OutboxStatus.QUEUED.value
    free = {"claimed_by": None, "claimed_until": None}
    session.execute(update(OutboxRow).where(waiting).values(status=OutboxStatus.HELD.value, **free))
    session.add(RestorationRow(snapshot=snapshot, taken_at=taken_at, restored_at=at))
    audit(session, "backup", "database.restore", f"snapshot/{snapshot}", "the control plane only observes", at)


def hold_of(db: Database) -> Hold | None:
    """Return the restoration that nobody has released, or None. Raises Unavailable."""
    with db.reading() as session:
        row = _unreleased(session)
        return None if row is None else _hold(session, row)


def release(db: Database, by: str, at: float, *, drop_messages: bool) -> Hold:
    """Let control planes that start from now on act. Return what was held.

    Held messages are queued again, or given up with `drop_messages`. One whose lane has had a newer message meanwhile
    is given up in any case: sent now, it would tell an old state after the new one. Raises Conflict when nothing is
    held, and Unavailable.
    """
    with db.transaction() as session:
        row = _unreleased(session, lock=True)
        if row is None:
            raise Conflict(f"database {db.place} is not held: it was not restored, or it was released already")
        found = _hold(session, row)
        dropped = _settle_messages(session, at, drop_all=drop_messages)
        # Also those of a backup that was made of a database on hold.
        every = update(RestorationRow).where(col(RestorationRow.released_at).is_(None))
        session.execute(every.values(released_at=at, released_by=by))
        found = replace(found, dropped=dropped)
        what = f"{found.messages - dropped} messages queued, {dropped} dropped, {found.rollouts} rollouts go on"
        audit(session, by, "database.release", f"snapshot/{row.snapshot}", what, at)
        return found


def _settle_messages(session: Session, at: float, *, drop_all: bool) -> int:
    """Give held messages up, or queue them. Return how many were given up."""
    held = col(OutboxRow.status) == OutboxStatus.HELD.value
    newer = aliased(OutboxRow)
    overtaken = (
        select(newer.id)
        .where(col(newer.lane) == col(OutboxRow.lane), col(OutboxRow.lane) != "", col(newer.id) > col(OutboxRow.id))
        .where(col(newer.status) != OutboxStatus.HELD.value)
        .exists()
    )
    ids = session.exec(select(OutboxRow.id).where(held, *([] if drop_all else [overtaken]))).all()
    gone = {"status": OutboxStatus.DEAD.value, "finished_at": at, "error": _DROPPED}
    session.execute(update(OutboxRow).where(col(OutboxRow.id).in_(ids)).values(**gone))
    session.execute(update(OutboxRow).where(held).values(status=OutboxStatus.QUEUED.value, next_attempt_at=at))
    return len(ids)


def _unreleased(session: Session, *, lock: bool = False) -> RestorationRow | None:
    rows = select(RestorationRow).where(col(RestorationRow.released_at).is_(None))
    newest = rows.order_by(col(RestorationRow.id).desc()).limit(1)
    return session.exec(newest.with_for_update() if lock else newest).one_or_none()


def _hold(session: Session, row: RestorationRow) -> Hold:
    held = select(func.count()).select_from(OutboxRow).where(col(OutboxRow.status) == OutboxStatus.HELD.value)
    running = select(func.count()).select_from(RolloutRow).where(col(RolloutRow.active_model).is_not(None))
    messages, rollouts = session.exec(held).one(), session.exec(running).one()
    return Hold(row.snapshot, row.taken_at, row.restored_at, messages, rollouts)
