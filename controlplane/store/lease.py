"""Leases: at most one process runs a loop, and a process that slept past its lease changes nothing.

A loop acquires its lease, renews it before each tick, and calls `check_lease` inside every transaction that acts.
Effects outside the database cannot be checked there. A holder begins none after its deadline (`Lease.left_s`), and no
other process can take the lease over before that deadline.

Leases expire by the database's clock, so the clocks of the processes do not matter. The database's clock can be set,
too. After a step forward all leases have run out, and their holders acquire them anew. After a step back a lease that
ends too late counts as run out (`OVERLONG_TTLS`), so a lease of a dead process blocks no other process.
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

from sqlalchemy import ColumnElement, case, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from controlplane.errors import LeaseLost
from controlplane.store.database import Database, Patience, connection_now, database_now
from controlplane.store.tables.lease import LeaseRow

OVERLONG_TTLS = 2.0
"""A lease that ends more than this many TTLs from now was granted before the database's clock was set back. The next
process that acquires it gets it, even from a live holder. That is safe: every transaction checks the lease. Chosen."""


MARGIN = 0.2
"""Share of the TTL that a holder leaves unused at the end. Chosen: an effect takes time, and the clocks of two machines
do not run equally fast."""

_RENEW = text(
    "UPDATE lease SET expires_at = :until WHERE name = :name AND holder = :holder AND epoch = :epoch "
    "AND expires_at > :now RETURNING epoch"
)

LEASE_PATIENCE = Patience(
    connections=1, more=5, connection_s=4, connect_s=4, lock_s=4, idle_s=10, statement_s=4, answer_s=5
)
"""Limits of the connections that renew leases. The timeouts are at most a third of the shortest TTL
(schedule.factory.TTL_S): after an attempt that hangs there is time for another one. There are four leased loops, and a
backup that runs needs two leases more, so six connections are the maximum."""


_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # CLOCK_BOOTTIME exists on Linux only


def since_boot() -> float:
    """Return seconds of a clock that nobody can set. On Linux it counts while the machine sleeps, as leases do."""
    return time.clock_gettime(_SINCE_BOOT)


@dataclass
class Deadline:
    """The deadline of a holder's effects. Each renewal of the lease moves it."""

    clock: Callable[[], float] = since_boot
    at: float = math.inf
    """Seconds of `clock`. Infinite for a lease that a test or a tool made by hand."""


@dataclass(frozen=True)
class Lease:
    """One tenure of a lease. While the epoch stays the same, no other process held the lease and it never ran out."""

    name: str
    holder: str
    epoch: int
    deadline: Deadline = field(default_factory=Deadline, compare=False, repr=False)

    def left_s(self) -> float:
        """Return for how many seconds the holder may still begin an effect outside the database. 0 or less: none.

        The time counts from the sending of the last successful renewal, so it ends before the lease does.
        """
        return self.deadline.at - self.deadline.clock()


class LeaseStatus(NamedTuple):
    """A stored lease. `holder` is "" when it is free; `expires_at` is unix seconds on the database's clock."""

    name: str
    holder: str
    epoch: int
    expires_at: float


def process_holder() -> str:
    """Return a unique name of this process. A later process with the same pid gets another name."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class LeaseStore:
    """Grants, renews and releases leases."""

    def __init__(self, db: Database, clock: Callable[[], float] = since_boot) -> None:
        """`clock` counts the seconds of deadlines. It must be a clock that nobody can set."""
        self._db, self._clock = db, clock

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Acquire the lease for `ttl_s` seconds if it is free, has run out, or is already held by `holder`.

        None when another process holds it. `holder` names one process (see process_holder). Raises Unavailable.
        """
        sent_at = self._clock()
        with self._db.transaction() as session:
            insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
            free = insert(LeaseRow).values(name=name, holder="", epoch=0, expires_at=0.0)
            session.execute(free.on_conflict_do_nothing(index_elements=["name"]))
            # Read before the update, which may wait for a row lock: an old `now` can only refuse a takeover.
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
        """Extend the tenure to `ttl_s` seconds from now, and its deadline.

        Raises LeaseLost when the tenure is over, and Unavailable.
        """
        sent_at = self._clock()
        tenure = {"name": lease.name, "holder": lease.holder, "epoch": lease.epoch}
        with self._db.changing() as connection:
            now = connection_now(connection)
            renewed = connection.execute(_RENEW, tenure | {"now": now, "until": now + ttl_s}).first()
        if renewed is None:
            raise _lost(lease)
        lease.deadline.at = sent_at + ttl_s * (1 - MARGIN)

    def take_over(self) -> int:
        """Release every lease, for a process that is certainly the only one. Return how many were held."""
        with self._db.transaction() as session:
            held = update(LeaseRow).where(col(LeaseRow.holder) != "").values(holder="", expires_at=0.0)
            return len(session.execute(held.returning(col(LeaseRow.name))).all())

    def release(self, lease: Lease) -> None:
        """Release the lease, so that another process need not wait until it runs out. No-op when it is lost already."""
        with self._db.transaction() as session:
            session.execute(update(LeaseRow).where(*_is(lease)).values(holder="", expires_at=0.0))

    def list(self) -> list[LeaseStatus]:
        """Return all leases in the order of their names, expired ones included."""
        with self._db.reading() as session:
            rows = session.exec(select(LeaseRow).order_by(col(LeaseRow.name))).all()
            return [LeaseStatus(r.name, r.holder, r.epoch, r.expires_at) for r in rows]


def check_lease(session: Session, lease: Lease | None) -> None:
    """Raise LeaseLost unless `lease` is held now. Every transaction that acts must call it before it writes.

    None passes: a tool or a test works without a lease. On PostgreSQL the lease's row stays locked until the end of
    the transaction, so that a takeover waits. On SQLite the transaction is the only writer.
    """
    if lease is None:
        return
    held = session.exec(select(LeaseRow.expires_at).where(*_is(lease)).with_for_update(read=True)).one_or_none()
    if held is None or held <= database_now(session):
        raise _lost(lease)


def holder_now(db: Database, lease: Lease | None) -> str:
    """Return the holder of a lease, or "" when it is free, has run out, or is None. Raises Unavailable."""
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
