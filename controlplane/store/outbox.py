"""The outbox: a message is stored in the transaction of the change that it reports, and sent afterwards at least once.

A sender claims due messages for some seconds, sends them, and records the result. A claim is a conditional update, so
two senders never hold the same message. A dead sender's claim runs out. A sender whose claim ran out gets LeaseLost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, or_, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from alerts.stored import checked, reading
from controlplane.errors import LeaseLost
from controlplane.plain_text import plain
from controlplane.store.database import Database
from controlplane.store.tables.outbox import OutboxRow

MOST_OFF_S = 3600.0
"""Maximum delay and maximum claim of a message, in seconds. A later time was written by a clock that was ahead: the
message counts as due."""


class OutboxStatus(StrEnum):
    """The status of a message. A queued message with attempts is being retried."""

    QUEUED = "queued"
    SENT = "sent"
    DEAD = "dead"
    HELD = "held"
    """It was queued in a backup from which the database was restored: an operator releases it."""


_QUEUED = text("SELECT 1 FROM outbox WHERE status = :status LIMIT 1")


@dataclass(frozen=True)
class OutboxEntry:
    """One stored message. Times are unix seconds."""

    id: int
    message_id: str
    kind: str
    receiver: str
    lane: str
    payload: Mapping[str, Any]
    status: OutboxStatus
    attempts: int
    """Number of claims so far. Together with `claimed_by` it identifies a claim."""
    created_at: float
    next_attempt_at: float
    claimed_by: str | None
    claimed_until: float | None
    finished_at: float | None
    """Time at which the message was sent or given up."""
    result: Mapping[str, Any] | None
    """The sender's record of the delivery (the place of the message)."""
    error: str | None
    """Error of the last failed attempt."""

    @property
    def progress(self) -> str:
        """The status for people: a queued message with a failed attempt is `retrying`."""
        retrying = self.status is OutboxStatus.QUEUED and self.error is not None
        return "retrying" if retrying else self.status.value

    @property
    def remark(self) -> str | None:
        """Error of the last failed attempt. For a sent message: the change that was needed to deliver it."""
        return self.error or (self.result or {}).get("note")


class Stuck(NamedTuple):
    """Numbers of messages that do not get through."""

    waiting: int = 0
    """Queued for too long."""
    given_up: int = 0
    """Lanes whose last message was given up."""


def enqueue(
    session: Session,
    kind: str,
    receiver: str,
    message_id: str,
    payload: Mapping[str, Any],
    at: float,
    *,
    lane: str = "",
) -> bool:
    """Queue a message in the caller's transaction, due at once. Return False when its id is already stored.

    `message_id` identifies the content: a repetition after a crash queues nothing twice. Messages of one `lane` are
    claimed one at a time and in order, retries included: an update of a message never overtakes the message.
    """
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(OutboxRow).values(
        message_id=message_id,
        kind=kind,
        receiver=receiver,
        lane=lane,
        payload=dict(payload),
        status=OutboxStatus.QUEUED.value,
        attempts=0,
        created_at=at,
        next_attempt_at=at,
    )
    new = row.on_conflict_do_nothing(index_elements=["message_id"]).returning(col(OutboxRow.id))
    return session.execute(new).scalar_one_or_none() is not None


def _as_it_is(at: float) -> float:
    return at


class OutboxStore:
    """The outbox for senders."""

    def __init__(self, db: Database, shared: Callable[[float], float] = _as_it_is) -> None:
        """`shared` converts this process's time to a clock that all senders share. Claims expire by that clock.

        With separate clocks, a sender whose clock is ahead would claim messages that another sender is sending.
        """
        self._db, self._shared = db, shared

    def claim(self, holder: str, now: float, ttl_s: float, limit: int) -> list[OutboxEntry]:
        """Claim up to `limit` due messages, oldest first, for `ttl_s` seconds. Each claim counts as an attempt."""
        # The usual case. The search below costs fifteen times as much, and locks the database for writers.
        if self._db.first(_QUEUED, status=OutboxStatus.QUEUED.value) is None:
            return []
        shared_now = self._shared(now)
        with self._db.transaction() as session:
            due = select(OutboxRow.id).where(*_due(now, shared_now)).order_by(col(OutboxRow.id)).limit(limit)
            ids = session.exec(due.with_for_update(skip_locked=True)).all()
            if not ids:
                return []
            # The update repeats the condition: another sender may have claimed a message since it was read.
            claimed = session.execute(
                update(OutboxRow)
                .where(col(OutboxRow.id).in_(ids), *_due(now, shared_now))
                .values(claimed_by=holder, claimed_until=shared_now + ttl_s, attempts=col(OutboxRow.attempts) + 1)
                .returning(OutboxRow)
                .execution_options(synchronize_session=False)
            ).scalars()
            return sorted(self._entries(claimed), key=lambda entry: entry.id)

    def done(self, entry: OutboxEntry, result: Mapping[str, Any] | None, at: float) -> None:
        """Record that a claimed message was sent. Raises LeaseLost when the claim is no longer held."""
        self._settle(entry, status=OutboxStatus.SENT.value, finished_at=at, result=result and dict(result), error=None)

    def retry(self, entry: OutboxEntry, error: str, next_at: float) -> None:
        """Release a claimed message, due again at `next_at`. Raises LeaseLost when the claim is no longer held."""
        self._settle(entry, next_attempt_at=next_at, error=plain(error))

    def dead(self, entry: OutboxEntry, error: str, at: float) -> None:
        """Give a claimed message up. Raises LeaseLost when the claim is no longer held."""
        self._settle(entry, status=OutboxStatus.DEAD.value, finished_at=at, error=plain(error))

    def get(self, message_id: str) -> OutboxEntry | None:
        """Return the message with this `message_id`, or None."""
        with self._db.reading() as session:
            row = session.exec(select(OutboxRow).where(OutboxRow.message_id == message_id)).one_or_none()
            return None if row is None else next(iter(self._entries([row])), None)

    def recent(self, limit: int) -> list[OutboxEntry]:
        """Return the newest messages first."""
        with self._db.reading() as session:
            newest = select(OutboxRow).order_by(col(OutboxRow.id).desc()).limit(limit)
            return self._entries(session.exec(newest))

    def depth(self) -> dict[OutboxStatus, int]:
        """Count messages by status; a status without messages is 0."""
        counted = select(OutboxRow.status, func.count()).group_by(OutboxRow.status)
        with self._db.reading() as session:
            found = dict(session.exec(counted).all())
        return {status: found.get(status.value, 0) for status in OutboxStatus}

    def stuck(self, kind: str, before: float) -> Stuck:
        """Count the messages of a kind that are queued since before `before`, and the lanes that gave up their last."""
        of_kind = col(OutboxRow.kind) == kind
        queued = (of_kind, col(OutboxRow.status) == OutboxStatus.QUEUED.value, col(OutboxRow.created_at) < before)
        last = select(func.max(OutboxRow.id)).where(of_kind).group_by(OutboxRow.lane).scalar_subquery()
        dead = (col(OutboxRow.id).in_(last), col(OutboxRow.status) == OutboxStatus.DEAD.value)
        with self._db.reading() as session:
            waiting, given_up = (
                session.exec(select(func.count()).select_from(OutboxRow).where(*where)).one()
                for where in (queued, dead)
            )
        return Stuck(waiting, given_up)

    def prune(self, before: float) -> int:
        """Delete messages that were sent or given up before a time. Return how many."""
        with self._db.transaction() as session:
            gone = delete(OutboxRow).where(col(OutboxRow.finished_at) < before).returning(col(OutboxRow.id))
            return len(session.execute(gone).all())

    def _entries(self, rows: Iterable[OutboxRow]) -> list[OutboxEntry]:
        """Return the messages of rows. An unreadable row (an unknown status) is left out and logged once."""
        return self._db.unread.readable("outbox", rows, lambda row: row.message_id, _entry)

    def _settle(self, entry: OutboxEntry, **values: Any) -> None:
        with self._db.transaction() as session:
            settled = session.execute(
                update(OutboxRow)
                .where(
                    col(OutboxRow.id) == entry.id,
                    col(OutboxRow.status) == OutboxStatus.QUEUED.value,
                    col(OutboxRow.claimed_by) == entry.claimed_by,
                    col(OutboxRow.attempts) == entry.attempts,
                )
                .values(claimed_by=None, claimed_until=None, **values)
                .returning(col(OutboxRow.id))
            ).scalar_one_or_none()
        if settled is None:
            raise LeaseLost(
                f"message {entry.message_id} is no longer claimed by {entry.claimed_by} (attempt {entry.attempts}): "
                "its claim ran out and another sender took it; nothing was written"
            )


def _due(now: float, shared_now: float) -> tuple[ColumnElement[bool], ...]:
    earlier = aliased(OutboxRow)
    blocked = (
        select(earlier.id)
        .where(col(earlier.lane) == col(OutboxRow.lane), col(earlier.status) == OutboxStatus.QUEUED.value)
        .where(col(earlier.id) < col(OutboxRow.id))
        .exists()
    )
    return (
        col(OutboxRow.status) == OutboxStatus.QUEUED.value,
        _come(OutboxRow.next_attempt_at, now),
        or_(col(OutboxRow.claimed_until).is_(None), _come(OutboxRow.claimed_until, shared_now)),
        or_(col(OutboxRow.lane) == "", ~blocked),
    )


def _come(time: Any, now: float) -> ColumnElement[bool]:
    return or_(col(time) <= now, col(time) > now + MOST_OFF_S)


def _entry(row: OutboxRow) -> OutboxEntry:
    with reading():
        values = {f.name: getattr(row, f.name) for f in fields(OutboxEntry)}
        payload, result = row.payload, row.result
        values |= {
            "status": OutboxStatus(row.status),
            # A damaged payload becomes {}: the sender reports it and gives the message up.
            "payload": payload if isinstance(payload, Mapping) else {},
            "result": result if isinstance(result, Mapping) else None,
        }
        return checked(OutboxEntry(**values))
