"""Writes notifications as structured log lines, for fleets without Slack and as a record beside Slack."""

from __future__ import annotations

import logging

from alerts.interfaces import Message, MessageRef
from alerts.notify.card import render

_LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING}


class LogNotifier:
    """Implements alerts.interfaces.Notifier on a logger. Sending never fails, and no message is updated in place."""

    def __init__(self, name: str, logger: logging.Logger | None = None) -> None:
        self.name = name
        self._logger = logger or logging.getLogger("alerts.notifications")

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Write one line: the text, with the message's parts as fields. An edit is no news, so it has no line."""
        if message.edit:
            return None
        card = render(message)
        level = _LEVELS.get(card.severity, logging.INFO) if message.firing or message.notice else logging.INFO
        fields = {
            "message_id": message.id,
            "receiver": self.name,
            "status": message.status,
            "severity": card.severity,
            "group": dict(message.group_labels),
            "firing": [i.fingerprint for i in message.firing],
            "resolved": [i.fingerprint for i in message.resolved],
            "repeat": message.repeat,
        }
        self._logger.log(level, card.text, extra=fields)
        return None

    async def close(self) -> None:
        """Do nothing: no resource is held."""
