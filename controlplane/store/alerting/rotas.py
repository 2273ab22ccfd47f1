"""The last good copy of each rota's calendar. All replicas share them, and they outlive a restart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete
from sqlmodel import col, select

from controlplane.store.database import Database
from controlplane.store.tables.rotas import RotaCalendarRow


@dataclass(frozen=True)
class StoredCalendar:
    """A calendar as it was fetched."""

    source: str
    """Digest of its address. The copy of another address is not used."""
    text: str
    etag: str
    """The server's name for this version; "" when it gave none."""
    fetched_at: float
    """Unix second of the last answer that it is current."""


class RotaStore:
    """Reads and writes calendars. Synchronous; every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> dict[str, StoredCalendar]:
        """Return the calendars by rota."""
        with self._db.reading() as session:
            rows = session.exec(select(RotaCalendarRow))
            return {row.rota: StoredCalendar(row.source, row.text, row.etag, row.fetched_at) for row in rows}

    def put(self, rota: str, calendar: StoredCalendar) -> None:
        """Store the calendar of a rota."""
        with self._db.transaction() as session:
            row = session.get(RotaCalendarRow, rota, with_for_update=True)
            if row is None:
                row = RotaCalendarRow(rota=rota, source="", text="", fetched_at=0.0)
            row.source, row.text, row.etag = calendar.source, calendar.text, calendar.etag
            row.fetched_at = calendar.fetched_at
            session.add(row)

    def confirm(self, rota: str, source: str, etag: str, at: float) -> bool:
        """Note that the stored calendar of a rota is still current.

        Return False, and change nothing, if another one is stored than that of this source and ETag, or none.
        """
        with self._db.transaction() as session:
            row = session.get(RotaCalendarRow, rota, with_for_update=True)
            if row is None or (row.source, row.etag) != (source, etag):
                return False
            row.fetched_at = at
            session.add(row)
            return True

    def keep_only(self, rotas: Collection[str]) -> None:
        """Forget the calendars of all other rotas."""
        with self._db.transaction() as session:
            session.execute(delete(RotaCalendarRow).where(col(RotaCalendarRow.rota).not_in(rotas)))
