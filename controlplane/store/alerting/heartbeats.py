"""Heartbeats of other programs: when each was last heard. All replicas share them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete
from sqlmodel import col, select

from controlplane.plain_text import plain
from controlplane.store.database import Database
from controlplane.store.tables.heartbeats import HeartbeatRow


@dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of one name."""

    name: str
    at: float
    """Unix seconds. Before the first heartbeat: when the name was declared."""
    by: str = ""
    """Name of the token that sent it; "" before the first one."""
    beats: int = 0
    """Number of heartbeats so far."""


class HeartbeatStore:
    """Reads and writes heartbeats. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def expect(self, names: Collection[str], now: float) -> None:
        """Wait for the heartbeats of these names from now on, and forget all others. Known ones stay as they are."""
        with self._db.transaction() as session:
            known = set(session.exec(select(HeartbeatRow.name)))
            if gone := known - set(names):
                session.execute(delete(HeartbeatRow).where(col(HeartbeatRow.name).in_(gone)))
            for name in sorted(set(names) - known):
                session.add(HeartbeatRow(name=name, at=now))

    def beat(self, name: str, by: str, now: float) -> Heartbeat:
        """Record a heartbeat and return it. A replica whose clock is slow does not make it older."""
        with self._db.transaction() as session:
            row = session.get(HeartbeatRow, name, with_for_update=True) or HeartbeatRow(name=name, at=now)
            row.at, row.by, row.beats = max(row.at, now), plain(by), row.beats + 1
            session.add(row)
            return _heartbeat(row)

    def all(self) -> list[Heartbeat]:
        """Return the heartbeats by name."""
        with self._db.reading() as session:
            return [_heartbeat(row) for row in session.exec(select(HeartbeatRow).order_by(col(HeartbeatRow.name)))]


def _heartbeat(row: HeartbeatRow) -> Heartbeat:
    return Heartbeat(row.name, row.at, row.by, row.beats)
