"""The key by which an on-call service recognizes a group of alerts."""

from __future__ import annotations

import hashlib

from alerts.interfaces import Message


def incident_key(message: Message) -> str:
    """Return the key of a message's group: 64 hex digits. All messages of a group have it.

    It has no generation: a group that was restored with a new one must still resolve its incident.
    """
    return hashlib.sha256(message.group_key.encode()).hexdigest()
