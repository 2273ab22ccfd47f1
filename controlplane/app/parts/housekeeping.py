"""Deletes from the database what nobody needs any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from alerts.interfaces import Clock
from controlplane.app.parts.part import Configuration, Part
from controlplane.app.schedules import HOUSEKEEPING, timetables
from controlplane.clock.calendar import Timetable
from controlplane.schedule import Due, Loop, LoopFactory
from controlplane.store.alert_groups import SqlGroupLog
from controlplane.store.alert_log import SqlAlertLog
from controlplane.store.audit import REFUSED, AuditStore
from controlplane.store.backups.runs import BackupRunStore
from controlplane.store.database import Database
from controlplane.store.gateways import GatewayStore
from controlplane.store.holding.acknowledgements import AcknowledgementStore
from controlplane.store.holding.silences import SilenceStore
from controlplane.store.lease import Lease
from controlplane.store.outbox import OutboxStore
from controlplane.store.revision import RevisionStore
from controlplane.store.unreadable import prune as prune_unreadable
from controlplane.store.usage import UsageStore

KEEP_ALERTS_S = 90 * 86400.0
KEEP_HOLDS_S = 14 * 86400.0
"""Alertmanager keeps expired silences for 5 days. Chosen: an incident is still discussed two weeks later."""
KEEP_MESSAGES_S = 30 * 86400.0
KEEP_REVISIONS = 10_000
KEEP_REFUSALS_S = 30 * 86400.0
"""Strangers decide how many refusals there are, some ten a writing at most; what people did is kept for ever."""


def clean_up(db: Database, now: float) -> None:
    """Delete what is older than its kind is kept. Blocking. Raises Unavailable."""
    SqlAlertLog(db).prune(now - KEEP_ALERTS_S)
    SqlGroupLog(db).prune(now - KEEP_ALERTS_S)
    SilenceStore(db).prune(now - KEEP_HOLDS_S)
    AcknowledgementStore(db).prune(now - KEEP_HOLDS_S)
    OutboxStore(db).prune(now - KEEP_MESSAGES_S)
    RevisionStore(db).prune(KEEP_REVISIONS)
    prune_unreadable(db, now - KEEP_ALERTS_S)
    AuditStore(db).prune(REFUSED, now - KEEP_REFUSALS_S)
    UsageStore(db).roll_up(now)
    GatewayStore(db).prune()
    BackupRunStore(db).prune()


class Housekeeping(Part[Timetable]):
    """Runs `clean_up` by the calendar, in one process at a time."""

    name = "housekeeping"

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._times: Timetable | None = None

    def settings(self, config: Configuration) -> Timetable:
        """Return when a configuration wants the database tidied."""
        return timetables(config.fleet)[HOUSEKEEPING]

    async def configure(self, settings: Timetable) -> Sequence[str]:
        """Run at these times from now on."""
        before, self._times = self._times, settings
        return () if before is None else [f"runs at {settings}"]

    def loops(self, make: LoopFactory) -> Sequence[Loop]:
        """Return the loop that cleans up."""
        return [make.calendar(HOUSEKEEPING, lambda: self._times, self._clean_up)]

    async def _clean_up(self, lease: Lease, due: Due) -> Mapping[str, Any]:
        # Twice does no harm, so the lease is not checked in each transaction.
        await asyncio.to_thread(clean_up, self._db, self._clock.now())
        return {}
