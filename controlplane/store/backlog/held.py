"""A message that is in memory because its row cannot be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.store.outbox import OutboxEntry, OutboxStatus


@dataclass
class Held:
    """One message of the outbox. Implements alerts.sender.Entry. Times are unix seconds."""

    message_id: str
    receiver: str
    lane: str
    payload: Mapping[str, Any]
    created_at: float
    next_attempt_at: float
    status: OutboxStatus = OutboxStatus.QUEUED
    attempts: int = 0
    claimed_until: float = 0.0
    finished_at: float | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None
    stored: bool = False
    """It has a row, which says less than this."""
    leaving: bool = False
    """It is being written: nobody may claim it now."""

    @classmethod
    def of(cls, entry: OutboxEntry) -> Held:
        """Return a message whose row could not be settled."""
        return cls(
            entry.message_id,
            entry.receiver,
            entry.lane,
            entry.payload,
            entry.created_at,
            entry.next_attempt_at,
            attempts=entry.attempts,
            stored=True,
        )
