"""Delivers to a webhook with the content of Alertmanager's, version 4."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from alerts.interfaces import Message, MessageRef
from alerts.notify.card import render
from alerts.notify.http import Answer, HttpPoster
from alerts.notify.payload import webhook_payload
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.text import whole_lines

MESSAGE_ID = "X-Message-Id"
"""Header with the message's id. A repeat has the same id, so a receiver can drop it."""
PLAIN_LIMIT = 16 * 1024
"""Maximum size of a plain text in bytes (chosen)."""


class WebhookNotifier:
    """Implements alerts.interfaces.Notifier on a URL. Messages are not updated in place, so an edit sends nothing."""

    opens_incidents = True
    """An alert stays open at the receiver until a message resolves it."""

    def __init__(self, name: str, url: Callable[[], str], http: HttpPoster, *, max_alerts: int = 0) -> None:
        self.name = name
        self._url, self._http, self._max_alerts = url, http, max_alerts

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Post the message. Raises DeliveryFailed."""
        if message.edit:
            return None
        # In a thread: the fingerprints of thousands of alerts take a second.
        content = await asyncio.to_thread(webhook_payload, message, self.name, message.console_url, self._max_alerts)
        card = render(message)
        told = {MESSAGE_ID: _ascii(message.id)}

        async def rich() -> Answer:
            return self._http.check(await self._http.post_json(self._url(), content, told))

        async def plain(_refused: FormRefused) -> Answer:
            text = whole_lines(card.paragraphs, PLAIN_LIMIT)
            headers = {"Content-Type": "text/plain; charset=utf-8", **told}
            return self._http.check(await self._http.post(self._url(), text.encode(), headers))

        _, note = await sent_or_plain(self.name, message, rich, plain)
        return MessageRef("", note)

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()


def _ascii(text: str) -> str:
    """Return a text for a header, where other characters are escaped."""
    return text.encode("unicode_escape").decode()
