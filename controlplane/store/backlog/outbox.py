"""The outbox that continues in memory while the database cannot be written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from alerts.sending import Fate, Outcome
from controlplane.errors import Unavailable
from controlplane.store.backlog.backlog import Backlog
from controlplane.store.backlog.held import Held
from controlplane.store.outbox import STATUS_AFTER, OutboxEntry, OutboxStatus, OutboxStore

Entry = Held | OutboxEntry


class EnduringOutbox:
    """Implements alerts.sender.Outbox."""

    def __init__(self, outbox: OutboxStore, backlog: Backlog) -> None:
        self._outbox, self._backlog = outbox, backlog

    def claim(
        self, holder: str, now: float, ttl_s: float, limit: int, without: Collection[str] = ()
    ) -> Sequence[Entry]:
        """Claim due messages, from the database or from the backlog."""
        without = self._backlog.waiting(now).union(without)
        if not self._backlog.paused:
            try:
                entries = self._outbox.claim(holder, now, ttl_s, limit, without)
            except Unavailable as error:
                self._backlog.pause(error)
            else:
                self._backlog.claimed(entries)
                return entries
        return self._backlog.claim(now, ttl_s, limit, without)

    def settle(self, outcomes: Sequence[Outcome]) -> Sequence[Entry]:
        """Record the ends of claims, in the database or in the backlog. Return the entries whose rows are not ours."""
        while rows := [one for one in outcomes if not self._settle_in_memory(one)]:
            try:
                lost = self._outbox.settle(rows)
            except Unavailable as error:
                self._backlog.pause(error)
                outcomes = rows
            else:
                gone = {entry.message_id for entry in lost}
                for one in rows:
                    is_lost = one.entry.message_id in gone
                    status = STATUS_AFTER.get(one.fate, OutboxStatus.QUEUED)
                    self._backlog.settled(one.entry, OutboxStatus.QUEUED if is_lost else status)
                return lost
        return ()

    def _settle_in_memory(self, outcome: Outcome) -> bool:
        substitutes = [Held(*one, outcome.at, outcome.at) for one in outcome.substitutes]
        return self._backlog.settle(outcome.entry, partial(_change, outcome), substitutes)

    def hold(self, receiver: str, until: float) -> None:
        """Claim no message of a receiver before unix second `until`. While writing is paused this is in memory only."""
        with self._backlog.lock:
            self._backlog.waits[receiver] = until
        if not self._backlog.paused:
            try:
                self._outbox.hold(receiver, until)
            except Unavailable as error:
                self._backlog.pause(error)

    def free(self, receivers: Collection[str]) -> None:
        """End the waits of receivers. A stored one stays until it is over when the database cannot be written."""
        with self._backlog.lock:
            for receiver in receivers:
                self._backlog.waits.pop(receiver, None)
        if not self._backlog.paused:
            try:
                self._outbox.free(receivers)
            except Unavailable as error:
                self._backlog.pause(error)


def _change(outcome: Outcome, held: Held) -> None:
    """Give a message in memory the end of its claim."""
    held.status, held.error = STATUS_AFTER.get(outcome.fate, OutboxStatus.QUEUED), outcome.error
    held.attempts -= outcome.fate is Fate.RELEASED
    if held.status is OutboxStatus.QUEUED:
        held.next_attempt_at = outcome.at
    else:
        held.finished_at, held.result = outcome.at, outcome.result
