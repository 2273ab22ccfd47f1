"""Moves what alerting has stored along when the clock was set, so that it measures the time that really passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from alerts.errors import NotReadable
from alerts.interfaces import INSTANCE_TIMES
from alerts.stored import items
from alerts.wire import instance_from_json, instance_to_json
from controlplane.store.alert_log import no_lease
from controlplane.store.database import Database
from controlplane.store.lease import Lease, check_lease
from controlplane.store.outbox import OutboxStatus
from controlplane.store.tables.alerts import AlertGroupRow, AlertInstanceRow
from controlplane.store.tables.outbox import OutboxRow

GROUP_TIMES = ("opened_at", "notified_at")

MOST_WAIT_S = 3600.0
"""No message is put off for longer by a sender, so what is due later was written under a clock that was ahead."""


class ClockSteps:
    """Changes alerts, groups and messages that wait. What happened already, the history, stays as it was written.

    `lease` returns the lease under which this process evaluates; every write checks it and raises LeaseLost.
    """

    def __init__(
        self, db: Database, lease: Callable[[], Lease | None] = no_lease, *, claims_follow: bool = True
    ) -> None:
        """`claims_follow`: claims of messages are on this process's clock, and not on one that all senders share."""
        self._db, self._lease, self._claims_follow = db, lease, claims_follow

    def move(self, by_s: float) -> None:
        """Follow a step of the clock. Raises LeaseLost and Unavailable; nothing was written then.

        Messages follow a step back only: after a step forward one is tried a little early, which does no harm.
        """
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            move_times(session, by_s, claims_follow=self._claims_follow)

    def settle(self, now: float) -> None:
        """Let nothing lie in the future: a process whose clock was ahead has written it. Raises as `move` does."""
        with self._db.transaction() as session:
            check_lease(session, self._lease())
            for name in INSTANCE_TIMES:
                _cap(session, AlertInstanceRow, name, now, now)
            for name in GROUP_TIMES:
                _cap(session, AlertGroupRow, name, now, now)
            for name in ("next_attempt_at", "claimed_until"):
                _cap(session, OutboxRow, name, now + MOST_WAIT_S, now)


def move_times(session: Session, by_s: float, *, claims_follow: bool) -> None:
    """Move the times of alerts, groups and waiting messages, in the caller's transaction."""
    times: dict[str, Any] = {name: getattr(AlertInstanceRow, name) + by_s for name in INSTANCE_TIMES}
    session.execute(update(AlertInstanceRow).values(**times))
    for group in session.exec(select(AlertGroupRow)):
        _move(group, by_s)
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
        return  # as it is: what was told is found out from the alerts, which have moved
    group.notified = [instance_to_json(instance.moved_by(by_s)) for instance in told]


def _cap(session: Session, table: type[Any], name: str, most: float, to: float) -> None:
    session.execute(update(table).where(getattr(table, name) > most).values(**{name: to}))
