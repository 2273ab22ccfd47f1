"""Leases: at most one process runs a loop, and one that woke late changes nothing.

A loop acquires its lease, renews it before each tick, and calls `check_lease` inside every transaction that acts.
Leases are judged on the database's clock, so the clocks of the processes do not matter. That one can be set, too: after
a step forward all leases have run out, and their holders take them anew; after a step back one that would last for
longer than anybody can take it for counts as run out (`OVERLONG_TTLS`), so a dead process holds up nobody.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from controlplane.errors import LeaseLost
from controlplane.store.database import Database, database_now
from controlplane.store.tables.lease import LeaseRow

OVERLONG_TTLS = 2.0
"""A lease that ends later than so many of its lengths from now was given before the database's clock was set back. Its
holder, if it lives, loses it to whoever asks next; transactions are safe either way, as they check it."""


class Lease(NamedTuple):
    """One tenure. The same epoch means that nobody else held the lease in between, and that it never ran out."""

    name: str
    holder: str
    epoch: int


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

    def __init__(self, db: Database) -> None:
        self._db = db

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease for `ttl_s` seconds when it is free, has run out or is ours already; None: another holds it.

        `holder` names one process (see process_holder). Raises Unavailable.
        """
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
        return None if epoch is None else Lease(name, holder, epoch)

    def renew(self, lease: Lease, ttl_s: float) -> None:
        """Prolong the tenure to `ttl_s` seconds from now. Raises LeaseLost when it is over, and Unavailable."""
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
