"""Replicas: the processes that share the database, and the differences of their clocks.

They serve two decisions. A process that has seen another one does not act while the database cannot name the holder of
a lease. A process that takes alerting over shifts the stored times from the previous leader's clock to its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import delete, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from alerts.interfaces import Clock
from controlplane.store.clock_steps import move_times
from controlplane.store.database import Database, database_now
from controlplane.store.lease import Lease, check_lease
from controlplane.store.tables.replica import ReplicaRow

GONE_S = 600.0
"""Seconds for which a silent process counts as running unless it left (`leave`). Chosen: its network may fail often."""

SAME_CLOCK_S = 1.0
"""Clocks that differ by fewer seconds count as equal. Chosen: NTP keeps clocks within it, and a measurement by the
database takes time."""


class ReplicaStatus(NamedTuple):
    """A running replica. Times are seconds."""

    holder: str
    """Its name in the leases."""
    silent_s: float
    """Time since it was last seen, on the database's clock."""
    ahead_s: float
    """Lead of its clock over the database's when it was last seen, in seconds."""


def running_replicas(db: Database, database_clock: Callable[[Session], float] = database_now) -> list[ReplicaStatus]:
    """Return the replicas by name that have not left and were seen within GONE_S. Raises Unavailable."""
    with db.reading() as session:
        now = database_clock(session)
        there = select(ReplicaRow).where(~col(ReplicaRow.has_left), col(ReplicaRow.seen_at) >= now - GONE_S)
        rows = session.exec(there.order_by(col(ReplicaRow.holder))).all()
        return [ReplicaStatus(row.holder, max(0.0, now - row.seen_at), row.ahead_s) for row in rows]


class Replicas:
    """This process and the other replicas. Methods may be called from any thread."""

    def __init__(
        self,
        db: Database,
        holder: str,
        clock: Clock,
        database_clock: Callable[[Session], float] = database_now,
    ) -> None:
        self._db, self._holder, self._clock, self._database_clock = db, holder, clock, database_clock
        self._epoch = 0
        self._ahead_s = 0.0
        """Seconds by which this process's clock was ahead of the database's at the last measurement."""
        self.alone = False
        """Whether the last beat found no other replica. False before the first beat: there may be others."""

    def beat(self) -> None:
        """Record that this process runs, and look for others. Raises Unavailable: `alone` then stays as it was."""
        with self._db.transaction() as session:
            now = self._database_clock(session)
            self._write(session, now, self._epoch)
            session.execute(delete(ReplicaRow).where(col(ReplicaRow.seen_at) < now - GONE_S))
            others = select(func.count()).where(ReplicaRow.holder != self._holder, ~col(ReplicaRow.has_left))
            found = session.exec(others).one()
        self.alone = not found

    def leave(self) -> None:
        """Record that this process ends. Raises Unavailable: the others then treat it as a process that died."""
        with self._db.transaction() as session:
            session.execute(update(ReplicaRow).where(col(ReplicaRow.holder) == self._holder).values(has_left=True))

    def inherit(self, lease: Lease) -> float | None:
        """Shift the times that the previous leader of alerting stored to this process's clock. Return the seconds.

        This happens once in each tenure. Returns None when this process was the previous leader. Nothing is shifted
        either when the previous leader is unknown, or when the clocks agree. Raises LeaseLost and Unavailable: nothing
        was written.
        """
        with self._db.transaction() as session:
            check_lease(session, lease)
            own = session.get(ReplicaRow, self._holder)
            if own is not None and own.epoch == lease.epoch:
                return None
            earlier = (
                select(ReplicaRow)
                .where(col(ReplicaRow.epoch) > 0, col(ReplicaRow.epoch) < lease.epoch)
                .order_by(col(ReplicaRow.epoch).desc())
                .limit(1)
            )
            before = session.exec(earlier).one_or_none()
            theirs = None if before is None else before.ahead_s
            is_own = before is not None and before.holder == self._holder
            mine = self._write(session, self._database_clock(session), lease.epoch)
            by_s = 0.0 if is_own or theirs is None or abs(mine - theirs) < SAME_CLOCK_S else mine - theirs
            if by_s:
                move_times(session, by_s, claims_follow=False)
        # Set only after the commit: otherwise `beat` would record that this tenure has shifted the times.
        self._epoch = lease.epoch
        return None if is_own else by_s

    def _write(self, session: Session, now: float, epoch: int) -> float:
        """Write this process's row. Return the seconds by which its clock is ahead of the database's."""
        values = {"seen_at": now, "ahead_s": self._clock.now() - now, "epoch": epoch, "has_left": False}
        insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
        row = insert(ReplicaRow).values(holder=self._holder, **values)
        session.execute(row.on_conflict_do_update(index_elements=["holder"], set_=values))
        self._ahead_s = float(values["ahead_s"])
        return self._ahead_s

    def database_time(self, at: float) -> float:
        """Convert unix second `at` of this process's clock to the database's clock."""
        return at - self._ahead_s

    def clock_was_set(self, by_s: float) -> None:
        """Add a step of this process's clock to the difference, until the next measurement."""
        self._ahead_s += by_s
