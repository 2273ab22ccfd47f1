"""The outbox that continues in memory while the database cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controlplane.errors import LeaseLost, Unavailable
from controlplane.store.backlog.backlog import Backlog
from controlplane.store.backlog.held import Held
from controlplane.store.outbox import OutboxEntry, OutboxStatus, OutboxStore

Entry = Held | OutboxEntry


class EnduringOutbox:
    """Implements alerts.sender.Outbox."""

    def __init__(self, outbox: OutboxStore, backlog: Backlog) -> None:
        self._outbox, self._backlog = outbox, backlog

    def claim(self, holder: str, now: float, ttl_s: float, limit: int) -> Sequence[Entry]:
        """Claim due messages, from the database or from the backlog."""
        if not self._backlog.paused:
            try:
                entries = self._outbox.claim(holder, now, ttl_s, limit)
            except Unavailable as error:
                self._backlog.pause(error)
            else:
                self._backlog.claimed(entries)
                return entries
        return self._backlog.claim(now, ttl_s, limit)

    def done(self, entry: Entry, result: Mapping[str, Any] | None, at: float) -> None:
        """Record that a message was sent. Raises LeaseLost when this process no longer holds the claim on its row."""

        def change(held: Held) -> None:
            held.status, held.finished_at, held.result, held.error = OutboxStatus.SENT, at, result, None

        self._settle(entry, OutboxStatus.SENT, lambda row: self._outbox.done(row, result, at), change)

    def retry(self, entry: Entry, error: str, next_at: float) -> None:
        """Release a message, due again at `next_at`. Raises LeaseLost as `done` does."""

        def change(held: Held) -> None:
            held.next_attempt_at, held.error = next_at, error

        self._settle(entry, OutboxStatus.QUEUED, lambda row: self._outbox.retry(row, error, next_at), change)

    def dead(self, entry: Entry, error: str, at: float) -> None:
        """Give a message up. Raises LeaseLost as `done` does."""

        def change(held: Held) -> None:
            held.status, held.finished_at, held.error = OutboxStatus.DEAD, at, error

        self._settle(entry, OutboxStatus.DEAD, lambda row: self._outbox.dead(row, error, at), change)

    def _settle(
        self, entry: Entry, status: OutboxStatus, write: Callable[[OutboxEntry], None], change: Callable[[Held], None]
    ) -> None:
        while not self._backlog.settle(entry, change):
            assert isinstance(entry, OutboxEntry)
            try:
                write(entry)
            except Unavailable as error:
                self._backlog.pause(error)
            except LeaseLost:
                self._backlog.settled(entry, OutboxStatus.QUEUED)
                raise
            else:
                self._backlog.settled(entry, status)
                return
