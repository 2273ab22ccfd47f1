"""Which processes share the database, and how far their clocks are apart.

Two decisions rest on it. Who has seen another process does not act while the database cannot say who holds a lease.
And whoever takes alerting over moves stored times from the clock that they were written by to its own.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from alerts.interfaces import Clock
from controlplane.store.clock_steps import move_times
from controlplane.store.database import Database, database_now
from controlplane.store.lease import Lease, check_lease
from controlplane.store.tables.replica import ReplicaRow

GONE_S = 600.0
"""A process that did not say that it ends counts as there for so long: its network may fail again and again."""

SAME_CLOCK_S = 1.0
"""Clocks that differ by less are taken for one: NTP keeps them within that, and asking the database takes time, too."""


class Replicas:
    """This process among the others. Methods may be called from any thread."""

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
        """As it was last measured."""
        self.alone = False
        """Nobody else was seen lately, when the database was last asked. Before that somebody may be there."""

    def beat(self) -> None:
        """Say that this process is there, and look who else is. Raises Unavailable: what was known stays."""
        with self._db.transaction() as session:
            now = self._database_clock(session)
            self._write(session, now, self._epoch)
            session.execute(delete(ReplicaRow).where(col(ReplicaRow.seen_at) < now - GONE_S))
            others = select(func.count()).where(ReplicaRow.holder != self._holder, ~col(ReplicaRow.has_left))
            found = session.exec(others).one()
        self.alone = not found

    def leave(self) -> None:
        """Say that this process ends. Raises Unavailable: the others then take it for one that died."""
        with self._db.transaction() as session:
            session.execute(update(ReplicaRow).where(col(ReplicaRow.holder) == self._holder).values(has_left=True))

    def inherit(self, lease: Lease) -> float | None:
        """Move what the last process that alerted has stored to this one's clock; return by how many seconds.

        It happens once a tenure. None: this process wrote it, by its own clock. Nothing moves either where nobody knows
        who wrote it, and where the clocks agree. Raises LeaseLost and Unavailable: nothing was written.
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
        # Not before it is written: `beat` would say that this tenure has moved what it has not.
        self._epoch = lease.epoch
        return None if is_own else by_s

    def _write(self, session: Session, now: float, epoch: int) -> float:
        """Write this process's row; return how far its clock is ahead of the database's."""
        values = {"seen_at": now, "ahead_s": self._clock.now() - now, "epoch": epoch, "has_left": False}
        insert = sqlite.insert if self._db.is_sqlite else postgresql.insert
        row = insert(ReplicaRow).values(holder=self._holder, **values)
        session.execute(row.on_conflict_do_update(index_elements=["holder"], set_=values))
        self._ahead_s = float(values["ahead_s"])
        return self._ahead_s

    def database_time(self, at: float) -> float:
        """Return what the database's clock shows when this process's one shows `at`."""
        return at - self._ahead_s

    def clock_was_set(self, by_s: float) -> None:
        """Take note of a step of this process's clock: until the next measurement it is ahead by so much more."""
        self._ahead_s += by_s
