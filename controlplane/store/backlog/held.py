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
    """Whether the message has a row in the database. The row is older than this."""
    followed_by: str = ""
    after_given_up: bool = False
    """Id of the next message of its lane: see OutboxEntry."""
    leaving: bool = False
    """Whether the message is being written to the database. It cannot be claimed meanwhile."""

    @classmethod
    def of(cls, entry: OutboxEntry) -> Held:
        """Return the message of a row that could not be settled."""
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
