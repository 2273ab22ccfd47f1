"""The outbox: a message is stored in the transaction of the change that it reports, and sent afterwards at least once.

A sender claims due messages for some seconds, sends them, and records the result. A claim is a conditional update, so
two senders never hold the same message. A dead sender's claim runs out. A sender whose claim ran out gets LeaseLost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, delete, func, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from alerts.sending import MAX_RETRY_AFTER_S, Fate, Outcome
from alerts.stored import checked, reading
from controlplane.errors import LeaseLost
from controlplane.plain_text import plain
from controlplane.store.alerting.receipts import Receipts, receipts_by_receiver, troubled
from controlplane.store.database import Database
from controlplane.store.tables.outbox import OutboxRow, ReceiverWaitRow

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


_SETTLE = (
    update(OutboxRow)
    .where(
        col(OutboxRow.id) == bindparam("of_id"),
        col(OutboxRow.status) == OutboxStatus.QUEUED.value,
        col(OutboxRow.claimed_by) == bindparam("holder"),
        col(OutboxRow.attempts) == bindparam("claim"),
    )
    .values(
        status=bindparam("fate"),
        attempts=bindparam("count"),
        next_attempt_at=bindparam("next_at"),
        finished_at=bindparam("ended_at"),
        result=bindparam("told"),
        error=bindparam("reason"),
        claimed_by=None,
        claimed_until=None,
    )
)
STATUS_AFTER = {Fate.SENT: OutboxStatus.SENT, Fate.DEAD: OutboxStatus.DEAD}
"""Status after a claim. A message of any other fate is still queued."""


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
    followed_by: str = ""
    """Id of the next queued message of its lane when it was claimed; "" for none. It has no column."""
    after_given_up: bool = False
    """Whether an earlier message of its group's generation was given up when it was claimed. It has no column."""

    @property
    def progress(self) -> str:
        """The status for people: a queued message with a failed attempt is `retrying`."""
        retrying = self.status is OutboxStatus.QUEUED and self.error is not None
        return "retrying" if retrying else self.status.value

    @property
    def remark(self) -> str | None:
        """Error of the last failed attempt. For a sent message: the change that was needed to deliver it."""
        return self.error or (self.result or {}).get("note")


_EARLIER = aliased(OutboxRow)
"""An entry that is queued before another. Made once: each alias is a web of cycles for the garbage collector."""

_WITHOUT_COLUMN = ("followed_by", "after_given_up")


class Stuck(NamedTuple):
    """Numbers of messages that do not get through."""

    waiting: int = 0
    """Queued for too long."""
    given_up: int = 0
    """Lanes whose last message was given up."""


class Queued(NamedTuple):
    """A message to queue."""

    message_id: str
    """Identifies the content: a repetition after a crash queues nothing twice."""
    kind: str
    receiver: str
    lane: str
    """Messages of one lane are claimed one at a time and in order, retries included: an update of a message never
    overtakes the message. Empty: the message is independent."""
    payload: Mapping[str, Any]


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
    """Queue a message (see Queued) in the caller's transaction, due at once. False when its id is already stored."""
    new = _insert(session.get_bind().dialect.name).returning(col(OutboxRow.id))
    return session.execute(new, _row(Queued(message_id, kind, receiver, lane, payload), at)).first() is not None


def enqueue_all(session: Session, messages: Iterable[Queued], at: float) -> None:
    """Queue messages as `enqueue` does, with one statement."""
    if rows := [_row(message, at) for message in messages]:
        session.connection().execute(_insert(session.get_bind().dialect.name), rows)


def _insert(dialect: str) -> sqlite.Insert | postgresql.Insert:
    if dialect == "sqlite":
        return sqlite.insert(OutboxRow).on_conflict_do_nothing(index_elements=["message_id"])
    return postgresql.insert(OutboxRow).on_conflict_do_nothing(index_elements=["message_id"])


def _row(message: Queued, at: float) -> dict[str, Any]:
    return {
        **message._asdict(),
        "payload": dict(message.payload),
        "status": OutboxStatus.QUEUED.value,
        "attempts": 0,
        "created_at": at,
        "next_attempt_at": at,
    }


class OutboxStore:
    """The outbox for senders."""

    def __init__(self, db: Database, shared: Callable[[float], float] = lambda at: at) -> None:
        """`shared` converts this process's time to a clock that all senders share. Claims expire by that clock.

        With separate clocks, a sender whose clock is ahead would claim messages that another sender is sending.
        """
        self._db, self._shared = db, shared

    def claim(
        self, holder: str, now: float, ttl_s: float, limit: int, without: Collection[str] = ()
    ) -> list[OutboxEntry]:
        """Claim up to `limit` due messages of each receiver, oldest first, for `ttl_s` seconds.

        Each claim counts as an attempt. Nothing is claimed for the receivers in `without`, and for those that asked to
        wait.
        """
        shared_now = self._shared(now)
        due = _due(now, shared_now)
        # The usual case is that nothing is due: this question locks nothing.
        receivers = {row[0] for row in self._db.rows(select(OutboxRow.receiver).where(*due).distinct())}
        if not (wanted := receivers.difference(without)):
            return []
        place = func.row_number().over(partition_by=OutboxRow.receiver, order_by=col(OutboxRow.id)).label("place")
        ranked = select(OutboxRow.id, place).where(*due, col(OutboxRow.receiver).in_(wanted)).subquery()
        chosen = col(OutboxRow.id).in_(select(ranked.c.id).where(ranked.c.place <= limit))
        with self._db.transaction() as session:
            ids = session.exec(select(OutboxRow.id).where(chosen).with_for_update(skip_locked=True)).all()
            if not ids:
                return []
            # The update repeats the condition: another sender may have claimed a message since it was read.
            claimed = session.execute(
                update(OutboxRow)
                .where(col(OutboxRow.id).in_(ids), *due)
                .values(claimed_by=holder, claimed_until=shared_now + ttl_s, attempts=col(OutboxRow.attempts) + 1)
                .returning(OutboxRow)
                .execution_options(synchronize_session=False)
            ).scalars()
            entries = sorted(self._entries(claimed), key=lambda entry: entry.id)
            return _with_neighbours(session, entries)

    def take_over(self) -> int:
        """Free the messages that dead senders claimed. Return how many.

        Only for a process that knows that all others are dead: a message that one of them sends is sent twice.
        """
        free = {"claimed_by": None, "claimed_until": None}
        with self._db.transaction() as session:
            freed = update(OutboxRow).where(col(OutboxRow.claimed_by).is_not(None)).values(free)
            return len(session.execute(freed.returning(col(OutboxRow.id))).all())

    def settle(self, outcomes: Sequence[Outcome]) -> list[OutboxEntry]:
        """Record the ends of claims in one transaction, and queue their substitutes.

        Return the entries whose claims were not held any more.
        """
        lost = []
        with self._db.changing() as connection:
            for one in outcomes:
                if not connection.execute(_SETTLE, _values(one)).rowcount:
                    lost.append(one.entry)
                elif one.substitutes:
                    more = [_row(Queued(s.message_id, one.entry.kind, *s[1:]), one.at) for s in one.substitutes]
                    connection.execute(_insert(connection.dialect.name), more)
        return lost

    def done(self, entry: OutboxEntry, result: Mapping[str, Any] | None, at: float) -> None:
        """Record that a claimed message was sent. Raises LeaseLost when the claim is no longer held."""
        self._settle_one(Outcome(entry, Fate.SENT, at, result=result))

    def retry(self, entry: OutboxEntry, error: str, next_at: float) -> None:
        """Release a claimed message, due again at `next_at`. Raises LeaseLost when the claim is no longer held."""
        self._settle_one(Outcome(entry, Fate.RETRY, next_at, error))

    def dead(self, entry: OutboxEntry, error: str, at: float) -> None:
        """Give a claimed message up. Raises LeaseLost when the claim is no longer held."""
        self._settle_one(Outcome(entry, Fate.DEAD, at, error))

    def hold(self, receiver: str, until: float) -> None:
        """Claim no message of a receiver before unix second `until` of this process's clock."""
        insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
        values = {"until": self._shared(until)}
        row = insert(ReceiverWaitRow).values(receiver=receiver, **values)
        with self._db.transaction() as session:
            session.execute(row.on_conflict_do_update(index_elements=["receiver"], set_=values))

    def free(self, receivers: Collection[str]) -> None:
        """End the waits of receivers."""
        with self._db.transaction() as session:
            session.execute(delete(ReceiverWaitRow).where(col(ReceiverWaitRow.receiver).in_(receivers)))

    def get(self, message_id: str) -> OutboxEntry | None:
        """Return the message with this `message_id`, or None."""
        with self._db.reading() as session:
            found = session.exec(select(OutboxRow).where(OutboxRow.message_id == message_id))
            return next(iter(self._entries(found)), None)

    def recent(self, limit: int) -> list[OutboxEntry]:
        """Return the newest messages first."""
        with self._db.reading() as session:
            return self._entries(session.exec(select(OutboxRow).order_by(col(OutboxRow.id).desc()).limit(limit)))

    def troubles(self, limit: int) -> list[OutboxEntry]:
        """Return the messages that were given up, then those whose last attempt failed; of each the newest first."""
        with self._db.reading() as session:
            return self._entries(session.exec(troubled().limit(limit)))

    def by_receiver(self) -> dict[str, Receipts]:
        """Return the outcome of each receiver's messages, as far as they are stored."""
        with self._db.reading() as session:
            return receipts_by_receiver(session)

    def depth(self) -> dict[OutboxStatus, int]:
        """Count messages by status; a status without messages is 0."""
        with self._db.reading() as session:
            found = dict(session.exec(select(OutboxRow.status, func.count()).group_by(OutboxRow.status)).all())
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

    def _settle_one(self, outcome: Outcome) -> None:
        for entry in self.settle([outcome]):
            raise LeaseLost(
                f"message {entry.message_id} is no longer claimed by {entry.claimed_by} (attempt {entry.attempts}): "
                "its claim ran out and another sender took it; nothing was written"
            )


def _with_neighbours(session: Session, claimed: Sequence[OutboxEntry]) -> list[OutboxEntry]:
    """Return claimed entries with what their lanes hold before and after them."""
    by_lane = {entry.lane: entry for entry in claimed if entry.lane}
    queued = (
        select(OutboxRow.lane, OutboxRow.id, OutboxRow.message_id)
        .where(col(OutboxRow.lane).in_(by_lane), OutboxRow.status == OutboxStatus.QUEUED.value)
        .order_by(col(OutboxRow.id).desc())
    )
    for lane, row_id, message_id in session.exec(queued):
        if (row_id or 0) > by_lane[lane].id:
            by_lane[lane] = replace(by_lane[lane], followed_by=message_id)
    dead = select(OutboxRow.lane, OutboxRow.message_id, OutboxRow.payload).where(
        col(OutboxRow.lane).in_(by_lane), OutboxRow.status == OutboxStatus.DEAD.value
    )
    for lane, message_id, payload in session.exec(dead):
        # A given-up edit went to nobody else.
        same_generation = message_id.rpartition("/")[0] == by_lane[lane].message_id.rpartition("/")[0]
        if same_generation and not (isinstance(payload, Mapping) and payload.get("edit")):
            by_lane[lane] = replace(by_lane[lane], after_given_up=True)
    return [by_lane.get(entry.lane, entry) for entry in claimed]


def _values(outcome: Outcome) -> dict[str, Any]:
    entry, result = outcome.entry, outcome.result
    status = STATUS_AFTER.get(outcome.fate, OutboxStatus.QUEUED)
    queued = status is OutboxStatus.QUEUED
    return {
        "of_id": entry.id,
        "holder": entry.claimed_by,
        "claim": entry.attempts,
        "fate": status.value,
        # A claim that is not released raises the number for good, so no two claims have one number.
        "count": entry.attempts - (outcome.fate is Fate.RELEASED),
        "next_at": outcome.at if queued else entry.next_attempt_at,
        "ended_at": None if queued else outcome.at,
        "told": result and dict(result),
        "reason": outcome.error if outcome.error is None else plain(outcome.error),
    }


def _due(now: float, shared_now: float) -> tuple[ColumnElement[bool], ...]:
    blocked = (
        select(_EARLIER.id)
        .where(col(_EARLIER.lane) == col(OutboxRow.lane), col(_EARLIER.status) == OutboxStatus.QUEUED.value)
        .where(col(_EARLIER.id) < col(OutboxRow.id))
        .exists()
    )
    waiting = select(ReceiverWaitRow.receiver).where(
        # A later time was written before the clock was set back.
        col(ReceiverWaitRow.until) > shared_now,
        col(ReceiverWaitRow.until) <= shared_now + MAX_RETRY_AFTER_S,
    )
    return (
        col(OutboxRow.status) == OutboxStatus.QUEUED.value,
        _come(OutboxRow.next_attempt_at, now),
        or_(col(OutboxRow.claimed_until).is_(None), _come(OutboxRow.claimed_until, shared_now)),
        or_(col(OutboxRow.lane) == "", ~blocked),
        col(OutboxRow.receiver).not_in(waiting),
    )


def _come(time: Any, now: float) -> ColumnElement[bool]:
    return or_(col(time) <= now, col(time) > now + MOST_OFF_S)


def _entry(row: OutboxRow) -> OutboxEntry:
    with reading():
        values = {f.name: getattr(row, f.name) for f in fields(OutboxEntry) if f.name not in _WITHOUT_COLUMN}
        payload, result = row.payload, row.result
        values |= {
            "status": OutboxStatus(row.status),
            # A damaged payload becomes {}: the sender reports it and gives the message up.
            "payload": payload if isinstance(payload, Mapping) else {},
            "result": result if isinstance(result, Mapping) else None,
        }
        return checked(OutboxEntry(**values))
