"""Stored acknowledgements and snoozes: one for each alert, which holds for one episode of it."""

from __future__ import annotations

from sqlalchemy import delete
from sqlmodel import Session, col, select

from alerts.errors import NotReadable
from alerts.holds import Acknowledgement, Holds
from alerts.interfaces import AlertState
from alerts.stored import Upgrade, checked, reading, upgraded
from controlplane.store.audit import audit
from controlplane.store.database import Database
from controlplane.store.holding.silences import SILENCES, read_silences
from controlplane.store.revision import touch
from controlplane.store.tables.alerts import AlertInstanceRow
from controlplane.store.tables.holds import AcknowledgementRow

ACKNOWLEDGEMENTS = "acknowledgement"
_UPGRADES: tuple[Upgrade, ...] = (lambda before_formats_were_counted: before_formats_were_counted,)
FORMAT = len(_UPGRADES)
_COLUMNS = ("fingerprint", "fired_at", "by", "at", "until", "comment")
_FIRING = (
    select(AlertInstanceRow.fingerprint)
    .where(col(AlertInstanceRow.fingerprint) == col(AcknowledgementRow.fingerprint))
    .where(col(AlertInstanceRow.state) == AlertState.FIRING.value)
    .where(col(AlertInstanceRow.fired_at) == col(AcknowledgementRow.fired_at))
    .exists()
)
"""Whether the episode that an acknowledgement belongs to still lasts."""
_RETURNING = (
    select(AlertInstanceRow.fingerprint)
    .where(col(AlertInstanceRow.fingerprint) == col(AcknowledgementRow.fingerprint))
    .where(col(AlertInstanceRow.changes).is_not(None))
    .exists()
)
"""Whether its alert has fired more than once of late. While an alert flaps, its episodes count as one."""


class AcknowledgementStore:
    """Reads and writes acknowledgements. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def holds(self, at: float) -> Holds:
        """Return the silences and acknowledgements that are not over at unix second `at`."""
        with self._db.reading() as session:
            return read_holds(session, self._db, at)

    def put(self, one: Acknowledgement, action: str, detail: str) -> None:
        """Store an acknowledgement in the place of an earlier one, and audit it. Raises NotStorable."""
        with self._db.transaction() as session:
            row = session.get(AcknowledgementRow, one.fingerprint)
            if row is None:
                row = AcknowledgementRow(fingerprint=one.fingerprint, fired_at=0.0, by="", at=0.0, comment="")
                session.add(row)
            for name in _COLUMNS:
                setattr(row, name, getattr(one, name))
            row.format = FORMAT
            _note(session, one.by, action, one.fingerprint, detail, one.at)

    def remove(self, fingerprint: str, actor: str, detail: str, at: float) -> bool:
        """Delete the acknowledgement of an alert, and audit it. Return whether there was one."""
        with self._db.transaction() as session:
            row = session.get(AcknowledgementRow, fingerprint)
            if row is None:
                return False
            session.delete(row)
            _note(session, actor, "alert.unacknowledge", fingerprint, detail, at)
            return True

    def prune(self, before: float) -> int:
        """Delete acknowledgements from before a time whose episode is over. Return how many."""
        with self._db.transaction() as session:
            gone = delete(AcknowledgementRow).where(col(AcknowledgementRow.at) < before, ~_FIRING)
            return len(session.execute(gone.returning(col(AcknowledgementRow.fingerprint))).all())


def read_holds(session: Session, db: Database, at: float | None) -> Holds:
    """Return silences that end after `at` (None: all), and the acknowledgements of alerts that fire now or may flap."""
    rows = session.exec(select(AcknowledgementRow).where(_FIRING | _RETURNING))
    found = db.unread.readable(ACKNOWLEDGEMENTS, rows, lambda row: row.fingerprint, _acknowledgement)
    return Holds(tuple(read_silences(session, db, at)), {one.fingerprint: one for one in found})


def _note(session: Session, actor: str, action: str, fingerprint: str, detail: str, at: float) -> None:
    audit(session, actor, action, f"alert/{fingerprint}", detail, at)
    touch(session, SILENCES)
    touch(session, "alerts", fingerprint)


def _acknowledgement(row: AcknowledgementRow) -> Acknowledgement:
    upgraded({"format": row.format}, _UPGRADES)
    try:
        with reading():
            return checked(Acknowledgement(**{name: getattr(row, name) for name in _COLUMNS}))
    except NotReadable as error:
        raise NotReadable(f"acknowledgement of {row.fingerprint}: {error}") from error
