"""The second try of every notifier: a message that a receiver refuses for its form is sent again as plain text."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message

T = TypeVar("T")


class FormRefused(DeliveryFailed):
    """The receiver refuses the form of a message, and may accept a plainer one. It is permanent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


async def sent_or_plain(
    name: str, message: Message, rich: Callable[[], Awaitable[T]], plain: Callable[[FormRefused], Awaitable[T]]
) -> tuple[T, str]:
    """Await `rich`, and `plain` when the receiver refuses the form. Return the answer, and why it is plain or "".

    `name` is the notifier's. Raises DeliveryFailed: FormRefused is `plain`'s, when the receiver refuses that too.
    """
    try:
        return await rich(), ""
    except FormRefused as refused:
        note = f"sent as plain text: {refused}"
        logging.getLogger(__name__).warning("notification %s to %s %s", message.id, name, note)
        return await plain(refused), note
