"""Keeps resolved alerts from a receiver that is not told of them: `send_resolved: false`, as in Alertmanager."""

from __future__ import annotations

from dataclasses import replace

from alerts.interfaces import Message, MessageRef, Notifier
from alerts.notify.around import Around

LEFT_OUT = "not sent: send_resolved is false"
EDITED = "only edited in place: send_resolved is false"


class FiringOnly(Around):
    """Implements alerts.interfaces.Notifier around another one.

    A message with firing alerts has them alone. One without any notifies nobody. Where `edits` is true, it replaces the
    content of its group's message, which would say for ever that the alerts fire.
    """

    def __init__(self, inner: Notifier, *, edits: bool = False) -> None:
        super().__init__(inner)
        self._edits = edits

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Send what fires. Raises DeliveryFailed, as the other notifier does."""
        if message.notice is not None or message.edit:
            return await self.inner.send(message, root)
        if message.firing:
            return await self.inner.send(replace(message, resolved=()), root)
        if not self._edits or root is None:
            return MessageRef("", LEFT_OUT)
        edited = await self.inner.send(replace(message, edit=True), root)
        # A message that is gone cannot be edited.
        return MessageRef("", LEFT_OUT) if edited is None else replace(edited, note=edited.note or EDITED)
