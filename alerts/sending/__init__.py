"""The queue that the sender takes messages from, and the writing of its results."""

from __future__ import annotations

from alerts.sending.outbox import MAX_RETRY_AFTER_S, Entry, Fate, Outbox, Outcome, Substitute
from alerts.sending.recorder import Recorder

__all__ = ["MAX_RETRY_AFTER_S", "Entry", "Fate", "Outbox", "Outcome", "Recorder", "Substitute"]
