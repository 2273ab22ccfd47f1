"""Puts texts of one's own into the messages of a notifier."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from alerts.errors import TemplateError
from alerts.interfaces import Message, MessageRef, Notifier
from alerts.notify.around import Around
from alerts.texts.templates import OwnTexts


class OwnTexted(Around):
    """Implements alerts.interfaces.Notifier around another one.

    Notices, storms and messages without alerts have the control plane's texts, because templates know none of them. So
    has a message whose templates fail; the delivery's note says why.
    """

    def __init__(self, inner: Notifier, texts: OwnTexts, now: Callable[[], float] = time.time) -> None:
        super().__init__(inner)
        self._texts, self._now = texts, now

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Send the message with its texts. Raises DeliveryFailed, as the other notifier does."""
        if message.notice is not None or message.storm is not None or not (message.firing or message.resolved):
            return await self.inner.send(message, root)
        try:
            # In a thread: templates of a message may take a second.
            texts = await asyncio.to_thread(self._texts.rendered, message, self._now())
        except TemplateError as fault:
            note = f"sent without its own texts: {fault}"
            logging.getLogger(__name__).warning("notification %s to %s %s", message.id, self.name, note)
            ref = await self.inner.send(message, root)
            return ref and replace(ref, note="; ".join(part for part in (note, ref.note) if part))
        return await self.inner.send(replace(message, texts=texts), root)
