"""Silences and acknowledgements in dispatch: noticing that one changed, and reminding of a silence that is to lapse."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import text
from sqlmodel import Session

from alerts.dispatch import Stages
from alerts.errors import NotReadable
from alerts.holds import Silence
from alerts.interfaces import AlertInstance, AlertState, Clock, Message, Notice
from alerts.sender import KIND
from alerts.wire import message_to_json
from controlplane.clock.every import Every
from controlplane.errors import Unavailable
from controlplane.fleet.holding.naming import names_of
from controlplane.store.alert_log import read_instances
from controlplane.store.database import Database
from controlplane.store.holding.silences import SilenceStore, due_reminders, silence_of
from controlplane.store.lease import Lease, check_lease
from controlplane.store.outbox import enqueue
from controlplane.store.revision import touch
from controlplane.store.tables.holds import SilenceRow

log = logging.getLogger(__name__)

AHEAD_S = 15 * 60.0
"""Seconds before its end at which a silence is reminded of."""
SHORTEST_S = 3600.0
"""Shortest silence that is reminded of, in seconds: the end of a shorter one is still in mind. Chosen."""
LOOK_S = 10.0
"""Seconds between two looks for silences that are to lapse. Chosen."""
_DUE = text("SELECT 1 FROM silence WHERE reminded_at IS NULL AND ends_at > :now AND ends_at <= :soon LIMIT 1")


class HoldWatch:
    """Tells whether a silence or an acknowledgement changed, in any process. One question to the database a call."""

    def __init__(self, db: Database) -> None:
        self._store = SilenceStore(db)
        self._seen: int | None = None

    async def changed(self) -> bool:
        """Return whether one changed since the last call. A database that does not answer has no news."""
        try:
            seen, changed = await asyncio.to_thread(self._store.changed_since, self._seen or 0)
        except Unavailable:
            return False
        first, self._seen = self._seen is None, seen
        return changed or first


class Reminders:
    """Queues a notice some time before the end of a silence that holds firing alerts back. Once for each end."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        lease: Callable[[], Lease | None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._clock, self._lease, self._monotonic = db, clock, lease, monotonic
        self._look = Every(LOOK_S)

    async def remind(self, stages: Stages) -> bool:
        """Queue the notices that are due; return whether there was one. Raises LeaseLost.

        While the database is away nothing is queued: the next look makes up for it.
        """
        if not self._look.take(self._monotonic()):
            return False
        try:
            return await asyncio.to_thread(self._remind, stages, self._clock.now())
        except Unavailable as error:
            log.debug("alerting: silences that are to lapse cannot be looked for: %s", error)
            return False

    def _remind(self, stages: Stages, now: float) -> bool:
        # The usual case is that nothing is due: then nothing is locked.
        if self._db.first(_DUE, now=now, soon=now + AHEAD_S) is None:
            return False
        queued = False
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            rows = due_reminders(session, now, AHEAD_S)
            firing = [one for one in read_instances(session, self._db.unread) if one.state is AlertState.FIRING]
            for row in rows:
                queued = self._of(session, row, firing, stages, now) or queued
        return queued

    def _of(
        self, session: Session, row: SilenceRow, firing: Sequence[AlertInstance], stages: Stages, now: float
    ) -> bool:
        try:
            silence = silence_of(row)
        except NotReadable:
            return False
        held = [one for one in firing if silence.covers(dict(one.labels))]
        if not held or silence.ends_at - silence.starts_at < SHORTEST_S:
            return False
        row.reminders, row.reminded_at = row.reminders + 1, now
        outlets = (outlet.notifier for one in held for outlet in stages.outlets(one.labels))
        # A root route without notifiers is for alerts that nobody wants: who would be told of these is told then.
        notifiers = stages.notifiers.get(stages.routing.root.receiver) or tuple(dict.fromkeys(outlets))
        for notifier in notifiers:
            message = reminder(silence, held, notifier, row.reminders, now, stages.console_url)
            payload = message_to_json(message)
            enqueue(session, KIND, notifier, message.id, payload, now, lane=message.group_key)
        touch(session, "alerts")
        return True


def reminder(
    silence: Silence, held: Sequence[AlertInstance], notifier: str, number: int, now: float, console_url: str
) -> Message:
    """Return the notice that a silence is to lapse. `number` counts the reminders of one silence."""
    ends = datetime.fromtimestamp(silence.ends_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    what = "1 alert that still fires and is" if len(held) == 1 else f"{len(held)} alerts that still fire and are"
    words = (
        f"It holds back {what} notified after its end: {names_of(held)}. "
        f"Its reason: {silence.comment or 'none was given'}. `cp silences extend {silence.id} --for 2h` prolongs it."
    )
    return Message(
        group_key=f"{notifier} silence {silence.id}",
        receiver=notifier,
        status="notice",
        group_labels=(),
        firing=(),
        resolved=(),
        sequence=1,
        generation=number,
        console_url=f"{console_url}/silences" if console_url else "",
        sent_at=datetime.fromtimestamp(now, UTC),
        notice=Notice(f"Silence of {silence.created_by} ends at {ends}", words, "warning"),
    )
