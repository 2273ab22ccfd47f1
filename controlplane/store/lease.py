"""Leases: at most one process runs a loop, and one that woke late changes nothing.

A loop acquires its lease, renews it before each tick, and calls `check_lease` inside every transaction that acts.
Effects outside the database cannot be checked there: a holder begins none after its deadline (`Lease.left_s`), which
lies before the time at which anybody else can take the lease over.
Leases are judged on the database's clock, so the clocks of the processes do not matter. That one can be set, too: after
a step forward all leases have run out, and their holders take them anew; after a step back one that would last for
longer than anybody can take it for counts as run out (`OVERLONG_TTLS`), so a dead process holds up nobody.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from controlplane.errors import LeaseLost
from controlplane.store.database import Database, Patience, database_now
from controlplane.store.tables.lease import LeaseRow

OVERLONG_TTLS = 2.0
"""A lease that ends later than so many of its lengths from now was given before the database's clock was set back. Its
holder, if it lives, loses it to whoever asks next; transactions are safe either way, as they check it."""


MARGIN = 0.2
"""The part of a lease's length that is left unused at its end: an effect takes time, and two machines' clocks do not
run equally fast."""

LEASE_PATIENCE = Patience(
    connections=1, more=3, connection_s=4, connect_s=4, lock_s=4, idle_s=10, statement_s=4, answer_s=5
)
"""Of the connections that leases are renewed by: no longer than a third of the shortest length
(schedule.factory.TTL_S), so that an attempt that hangs leaves time for another one. One connection, and four at most:
there are four leased loops."""


_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the former


def since_boot() -> float:
    """Return seconds that nobody can set. On Linux time counts in which the machine slept: leases run out meanwhile."""
    return time.clock_gettime(_SINCE_BOOT)


@dataclass
class Deadline:
    """Until when a holder may act. Moved by whoever renews the lease, read by whoever acts."""

    clock: Callable[[], float] = since_boot
    at: float = math.inf
    """In the clock's seconds; infinite for a lease that a test or a tool made by hand."""


@dataclass(frozen=True)
class Lease:
    """One tenure. The same epoch means that nobody else held the lease in between, and that it never ran out."""

    name: str
    holder: str
    epoch: int
    deadline: Deadline = field(default_factory=Deadline, compare=False, repr=False)

    def left_s(self) -> float:
        """Return for how many seconds the holder may still begin something outside the database; not above 0: no more.

        Counted from when the last renewal that succeeded was sent, so it ends before the database gives the lease away.
        """
        return self.deadline.at - self.deadline.clock()


class LeaseStatus(NamedTuple):
    """Who holds a lease, and until when on the database's clock (unix seconds). `holder` is "" when it is free."""

    name: str
    holder: str
    epoch: int
    expires_at: float


def process_holder() -> str:
    """Return a name for this process that no other one has, not even a later one with the same pid."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class LeaseStore:
    """Gives out leases."""

    def __init__(self, db: Database, clock: Callable[[], float] = since_boot) -> None:
        """`clock` counts seconds that nobody can set: deadlines are told by it."""
        self._db, self._clock = db, clock

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease for `ttl_s` seconds when it is free, has run out or is ours already; None: another holds it.

        `holder` names one process (see process_holder). Raises Unavailable.
        """
        sent_at = self._clock()
        with self._db.transaction() as session:
            insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
            free = insert(LeaseRow).values(name=name, holder="", epoch=0, expires_at=0.0)
            session.execute(free.on_conflict_do_nothing(index_elements=["name"]))
            # Read before the update may wait for a row lock: a clock that is behind can only refuse a takeover.
            now = database_now(session)
            unbroken = (col(LeaseRow.holder) == holder) & (col(LeaseRow.expires_at) > now)
            epoch = session.execute(
                update(LeaseRow)
                .where(col(LeaseRow.name) == name)
                .where(
                    (col(LeaseRow.holder) == holder)
                    | (col(LeaseRow.expires_at) <= now)
                    | (col(LeaseRow.expires_at) > now + OVERLONG_TTLS * ttl_s)
                )
                .values(
                    holder=holder,
                    epoch=case((unbroken, col(LeaseRow.epoch)), else_=col(LeaseRow.epoch) + 1),
                    expires_at=now + ttl_s,
                )
                .returning(col(LeaseRow.epoch))
            ).scalar_one_or_none()
        if epoch is None:
            return None
        return Lease(name, holder, epoch, Deadline(self._clock, sent_at + ttl_s * (1 - MARGIN)))

    def renew(self, lease: Lease, ttl_s: float) -> None:
        """Prolong the tenure to `ttl_s` seconds from now, and its deadline.

        Raises LeaseLost when it is over, and Unavailable.
        """
        sent_at = self._clock()
        with self._db.transaction() as session:
            now = database_now(session)
            renewed = session.execute(
                update(LeaseRow)
                .where(*_is(lease), col(LeaseRow.expires_at) > now)
                .values(expires_at=now + ttl_s)
                .returning(col(LeaseRow.epoch))
            ).scalar_one_or_none()
        if renewed is None:
            raise _lost(lease)
        lease.deadline.at = sent_at + ttl_s * (1 - MARGIN)

    def take_over(self) -> int:
        """Free every lease, for a process that knows that it is alone; return how many a dead one had left behind."""
        with self._db.transaction() as session:
            held = update(LeaseRow).where(col(LeaseRow.holder) != "").values(holder="", expires_at=0.0)
            return len(session.execute(held.returning(col(LeaseRow.name))).all())

    def release(self, lease: Lease) -> None:
        """Free the lease, so that another process need not wait for it to run out. No-op when it is lost already."""
        with self._db.transaction() as session:
            session.execute(update(LeaseRow).where(*_is(lease)).values(holder="", expires_at=0.0))

    def list(self) -> list[LeaseStatus]:
        """Return all leases by name, those that ran out included."""
        with self._db.reading() as session:
            rows = session.exec(select(LeaseRow).order_by(col(LeaseRow.name))).all()
            return [LeaseStatus(r.name, r.holder, r.epoch, r.expires_at) for r in rows]


def check_lease(session: Session, lease: Lease | None) -> None:
    """Raise LeaseLost unless `lease` is held now. To be called inside every transaction that acts, before it writes.

    None (a tool or test that works without a lease) passes. On PostgreSQL the lease's row stays locked until the
    transaction ends, so that a takeover waits for it; on SQLite the transaction is the only writer anyway.
    """
    if lease is None:
        return
    held = session.exec(select(LeaseRow.expires_at).where(*_is(lease)).with_for_update(read=True)).one_or_none()
    if held is None or held <= database_now(session):
        raise _lost(lease)


def holder_now(db: Database, lease: Lease | None) -> str:
    """Return who holds a lease; "" when it is free, has run out, or there is none. Raises Unavailable."""
    if lease is None:
        return ""
    with db.reading() as session:
        row = session.exec(select(LeaseRow).where(col(LeaseRow.name) == lease.name)).one_or_none()
        return "" if row is None or row.expires_at <= database_now(session) else row.holder


def _is(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        col(LeaseRow.name) == lease.name,
        col(LeaseRow.holder) == lease.holder,
        col(LeaseRow.epoch) == lease.epoch,
    )


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"{lease.holder} no longer holds lease {lease.name} (epoch {lease.epoch}): it ran out or another process "
        "took it over; nothing was written"
    )
