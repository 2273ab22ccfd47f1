"""Stored alerts of other senders. Any process stores them; the leader of alerting reads what is new.

Times are unix seconds on the clock that all processes on the database share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, delete, func, insert, text, update
from sqlmodel import Session, col, select

from alerts.errors import NotReadable
from alerts.received import ReceivedAlert, merged
from alerts.stored import checked, reading
from alerts.wire import annotations_of
from collectors.samples import labels_of
from controlplane.errors import Unavailable
from controlplane.store.database import Database, slices
from controlplane.store.tables.received import ReceivedAlertRow

MOST = 20_000
"""Maximum number of stored alerts, about 2 kB each. Chosen: twice the alerts of a large outage."""
PAGE = 2_000
"""Maximum number of alerts of one read."""
_LOCK = 0x63705F616C6572
"""Key of the PostgreSQL advisory lock that orders changes ("cp_aler")."""
_COLUMNS = ReceivedAlertRow.__table__.columns  # type: ignore[attr-defined]  # SQLModel declares no __table__
_ROW = col(ReceivedAlertRow.fingerprint) == bindparam("row_key")


class News(NamedTuple):
    """Alerts that changed, and the number of the last change that was read."""

    alerts: Sequence[ReceivedAlert]
    seq: int
    is_all: bool
    """Whether nothing newer is stored."""


class ReceivedStore:
    """Reads and writes alerts of other senders. Blocking."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, alerts: Sequence[ReceivedAlert], at: float) -> None:
        """Merge alerts into the stored ones, in one transaction. `at` is now.

        Raises NotStorable, and Unavailable when the database cannot be written or would hold more than MOST alerts that
        are not over.
        """
        with self._db.transaction() as session:
            if not self._db.is_sqlite:
                # Invariant: numbers become visible in their order. SQLite has one writer at a time anyway.
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            rows = _rows(session, {alert.fingerprint for alert in alerts})
            seq = int(session.execute(select(func.max(col(ReceivedAlertRow.seq)))).scalar_one() or 0)
            made: dict[str, ReceivedAlert] = {}
            for alert in alerts:
                key = alert.fingerprint
                stored = rows.get(key)
                made[key] = merged(made.get(key) or (stored and _read(stored)), alert)
            values = {key: _values(one, number) for number, (key, one) in enumerate(made.items(), seq + 1)}
            connection = session.connection()
            if known := [values[key] | {"row_key": key} for key in values if key in rows]:
                connection.execute(update(ReceivedAlertRow).where(_ROW), known)
            if new := [values[key] | {"fingerprint": key} for key in values if key not in rows]:
                connection.execute(insert(ReceivedAlertRow), new)
                living = select(func.count()).where(col(ReceivedAlertRow.ends_at) > at)
                if session.exec(living).one() > MOST:
                    raise Unavailable(f"{MOST} alerts of other senders are stored; send these again when some are over")

    def since(self, seq: int) -> News:
        """Return the alerts that changed after change `seq`, at most PAGE. Unreadable rows are left out."""
        with self._db.reading() as session:
            query = select(*_COLUMNS).where(col(ReceivedAlertRow.seq) > seq)
            rows = session.execute(query.order_by(col(ReceivedAlertRow.seq)).limit(PAGE)).all()
            found = [alert for row in rows if (alert := _read(row)) is not None]
            return News(found, rows[-1].seq if rows else seq, len(rows) < PAGE)

    def generator_urls(self, fingerprints: Collection[str]) -> Mapping[str, str]:
        """Return the senders' pages about alerts, by fingerprint."""
        found: dict[str, str] = {}
        with self._db.reading() as session:
            for keys in slices(sorted(fingerprints)):
                query = select(ReceivedAlertRow.fingerprint, ReceivedAlertRow.generator_url)
                found |= session.exec(query.where(col(ReceivedAlertRow.fingerprint).in_(keys))).all()
        return found

    def prune(self, before: float) -> None:
        """Delete alerts that were over before a time. The one that changed last stays: `seq` must never go back."""
        with self._db.transaction() as session:
            newest = select(func.max(col(ReceivedAlertRow.seq))).scalar_subquery()
            over = col(ReceivedAlertRow.ends_at) < before
            session.execute(delete(ReceivedAlertRow).where(over, col(ReceivedAlertRow.seq) < newest))


def move_received(session: Session, by_s: float) -> None:
    """Shift the times of received alerts by a step of the clock, in the caller's transaction."""
    names = ("starts_at", "ends_at", "updated_at")
    times = {name: getattr(ReceivedAlertRow, name) + by_s for name in names}
    session.execute(update(ReceivedAlertRow).values(**times))


def _rows(session: Session, fingerprints: Collection[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for keys in slices(sorted(fingerprints)):
        query = select(*_COLUMNS).where(col(ReceivedAlertRow.fingerprint).in_(keys))
        found |= {row.fingerprint: row for row in session.execute(query)}
    return found


def _values(alert: ReceivedAlert, seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "sender": alert.sender,
        "starts_at": alert.starts_at,
        "ends_at": alert.ends_at,
        "updated_at": alert.updated_at,
        "timeout": alert.timeout,
        "generator_url": alert.generator_url,
    }


def _read(row: Row[Any]) -> ReceivedAlert | None:
    """Return the alert of a row; None for a damaged one, which the sender's next repetition replaces."""
    try:
        with reading():
            labels, annotations = labels_of(row.labels), annotations_of(row.annotations)
            times = (row.starts_at, row.ends_at, row.updated_at)
            return checked(ReceivedAlert(labels, annotations, row.sender, *times, row.timeout, row.generator_url))
    except NotReadable:
        return None
