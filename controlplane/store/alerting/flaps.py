"""The alerts that the messages of open groups call flapping."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import col, select

from controlplane.store.database import Database
from controlplane.store.tables.alerts import AlertGroupRow


def told_flapping(db: Database) -> Callable[[], frozenset[str]]:
    """Return a function that reads the fingerprints of these alerts. It is blocking and raises Unavailable.

    A damaged row counts as one without such alerts, as in dispatch.
    """

    def read() -> frozenset[str]:
        with db.reading() as session:
            rows = session.exec(select(AlertGroupRow.flaps).where(col(AlertGroupRow.is_open))).all()
        found = [flap for flaps in rows if isinstance(flaps, list) for flap in flaps if isinstance(flap, dict)]
        return frozenset(str(flap.get("fingerprint")) for flap in found)

    return read
