"""What the database may forget, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alerts.interfaces import Clock
from controlplane.app.parts.part import Part
from controlplane.schedule import Loop, LoopFactory
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.audit import REFUSED, AuditStore
from controlplane.store.database import Database
from controlplane.store.lease import Lease
from controlplane.store.outbox import OutboxStore
from controlplane.store.revision import RevisionStore
from controlplane.store.unreadable import prune as prune_unreadable

HOUSEKEEPING_S = 300.0
KEEP_ALERTS_S = 90 * 86400.0
KEEP_MESSAGES_S = 30 * 86400.0
KEEP_REVISIONS = 10_000
KEEP_REFUSALS_S = 30 * 86400.0
"""Strangers decide how many refusals there are, some ten a writing at most; what people did is kept for ever."""


def clean_up(db: Database, now: float) -> None:
    """Delete what is older than its kind is kept. Blocking. Raises Unavailable."""
    SqlAlertLog(db).prune(now - KEEP_ALERTS_S)
    SqlGroupLog(db).prune(now - KEEP_ALERTS_S)
    OutboxStore(db).prune(now - KEEP_MESSAGES_S)
    RevisionStore(db).prune(KEEP_REVISIONS)
    prune_unreadable(db, now - KEEP_ALERTS_S)
    AuditStore(db).prune(REFUSED, now - KEEP_REFUSALS_S)


class Housekeeping(Part[None]):
    """Deletes what the database may forget, in one process at a time."""

    name = "housekeeping"

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return what cleans up."""
        return [make.leased("housekeeping", HOUSEKEEPING_S, self._turn)]

    async def _turn(self, lease: Lease) -> None:
        await asyncio.to_thread(clean_up, self._db, self._clock.now())
