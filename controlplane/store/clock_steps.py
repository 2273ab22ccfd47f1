"""Shifting the stored times of alerting by a step of the clock, so that durations stay the time that really passed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from alerts.dispatch import ToldFlap
from alerts.errors import NotReadable
from alerts.interfaces import INSTANCE_TIMES
from alerts.stored import items, reading
from alerts.wire import instance_from_json, instance_to_json
from controlplane.store.alert_log import no_lease
from controlplane.store.alerting.received import move_received
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.outbox import OutboxStatus
from controlplane.store.tables.alerts import AlertGroupRow, AlertInstanceRow
from controlplane.store.tables.heartbeats import HeartbeatRow
from controlplane.store.tables.holds import AcknowledgementRow, SilenceRow
from controlplane.store.tables.outbox import OutboxRow, ReceiverWaitRow

GROUP_TIMES = ("opened_at", "notified_at")
SILENCE_TIMES = ("starts_at", "ends_at", "created_at", "updated_at", "reminded_at")
ACKNOWLEDGEMENT_TIMES = ("fired_at", "at", "until")

MOST_WAIT_S = 3600.0
"""Maximum delay of a message, in seconds. No sender delays a message by more, so a message that is due later was
written by a clock that was ahead."""


class ClockSteps:
    """Shifts the times of alerts, groups, heartbeats and queued messages. The history stays as it was written.

    `lease` returns the lease under which this process evaluates; every write checks it and raises LeaseLost.
    """

    def __init__(
        self, db: Database, lease: Callable[[], Lease | None] = no_lease, *, claims_follow: bool = True
    ) -> None:
        """`claims_follow`: claims of messages use this process's clock, and not a clock that all senders share."""
        self._db, self._lease, self._claims_follow = db, lease, claims_follow

    def move(self, by_s: float) -> None:
        """Shift the stored times by a step of the clock. Raises LeaseLost and Unavailable: nothing was written then.

        Messages are shifted only by a step back. After a step forward a message is sent early, which does no harm.
        """
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            move_times(session, by_s, claims_follow=self._claims_follow)

    def settle(self, now: float) -> None:
        """Cap stored times at `now`: later ones come from a process whose clock was ahead. Raises as `move` does."""
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            for name in INSTANCE_TIMES:
                _cap(session, AlertInstanceRow, name, now, now)
            for name in GROUP_TIMES:
                _cap(session, AlertGroupRow, name, now, now)
            _change_documents(session, lambda at: min(at, now))
            _cap(session, HeartbeatRow, "at", now, now)
            for name in ("fired_at", "at"):
                _cap(session, AcknowledgementRow, name, now, now)
            for name in ("next_attempt_at", "claimed_until"):
                _cap(session, OutboxRow, name, now + MOST_WAIT_S, now)


def move_times(session: Session, by_s: float, *, claims_follow: bool) -> None:
    """Shift the times of alerts, groups, heartbeats and queued messages, in the caller's transaction.

    `claims_follow`: claims, the waits of receivers, and the times of received alerts are on this process's clock.
    """
    times: dict[str, Any] = {name: getattr(AlertInstanceRow, name) + by_s for name in INSTANCE_TIMES}
    session.execute(update(AlertInstanceRow).values(**times))
    session.execute(update(HeartbeatRow).values(at=HeartbeatRow.at + by_s))
    for group in session.exec(select(AlertGroupRow)):
        _move(group, by_s)
    _change_documents(session, lambda at: at + by_s)
    if claims_follow:
        move_received(session, by_s)
    silence: dict[str, Any] = {name: getattr(SilenceRow, name) + by_s for name in SILENCE_TIMES}
    session.execute(update(SilenceRow).values(**silence))
    taken: dict[str, Any] = {name: getattr(AcknowledgementRow, name) + by_s for name in ACKNOWLEDGEMENT_TIMES}
    session.execute(update(AcknowledgementRow).values(**taken))
    if claims_follow:
        session.execute(update(ReceiverWaitRow).values(until=ReceiverWaitRow.until + by_s))
    if by_s < 0:
        names = ("next_attempt_at", "claimed_until") if claims_follow else ("next_attempt_at",)
        waits = {name: getattr(OutboxRow, name) + by_s for name in names}
        queued = col(OutboxRow.status) == OutboxStatus.QUEUED.value
        session.execute(update(OutboxRow).where(queued).values(**waits))


def _move(group: AlertGroupRow, by_s: float) -> None:
    group.opened_at += by_s
    if group.notified_at is not None:
        group.notified_at += by_s
    try:
        told = [instance_from_json(told) for told in items(group.notified)]
    except NotReadable:
        return  # dispatch recovers the notified alerts from the alerts themselves, which were shifted
    group.notified = [instance_to_json(instance.moved_by(by_s)) for instance in told]


def _change_documents(session: Session, changed: Callable[[float], float]) -> None:
    """Change the times of earlier episodes, and of what was told of flapping alerts. Damaged rows stay as they are."""
    for instance in session.exec(select(AlertInstanceRow).where(col(AlertInstanceRow.changes).is_not(None))):
        with suppress(NotReadable), reading():
            instance.changes = [changed(at) for at in items(instance.changes)]
    for group in session.exec(select(AlertGroupRow)):
        with suppress(NotReadable), reading():
            flaps = [ToldFlap(**flap) for flap in items(group.flaps)]
            group.flaps = [asdict(replace(flap, told_at=changed(flap.told_at))) for flap in flaps]


def _cap(session: Session, table: type[Any], name: str, most: float, to: float) -> None:
    session.execute(update(table).where(getattr(table, name) > most).values(**{name: to}))
