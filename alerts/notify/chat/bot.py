"""Delivers to an incoming webhook of a chat program. Each program has a dialect, which says what it wants.

Many of these programs answer 200 to a message that they refuse, with a code in the body.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

import orjson

from alerts.errors import DeliveryFailed
from alerts.interfaces import Message, MessageRef
from alerts.notify.card import Card, render
from alerts.notify.http import Answer, HttpPoster
from alerts.notify.pace import Limit, Pace
from alerts.notify.plain import FormRefused, sent_or_plain
from alerts.notify.text import cut, cut_bytes, one_line
from alerts.notify.words import ENGLISH, Words

MAX_FIELDS = 20
"""Facts of a card that a chat message shows. Chosen: notices have as many as their group has labels."""
_SHRINKING = (2000, 600, 200, 60)
"""Longest texts in a message, in characters: the first that lets the whole message fit is used."""


class Reason(Enum):
    """The kind of a refusal."""

    FORM = "form"
    """The receiver refuses the form. A plain text may pass."""
    LIMITED = "limited"
    """Too many messages. A later try can pass."""
    LATER = "later"
    """A fault of the receiver. A later try can pass."""
    FINAL = "final"
    """A retry does not help."""


class Refusal(NamedTuple):
    """A refusal in the body of an answer."""

    reason: Reason
    text: str
    """Words of the receiver, and the cure."""
    wait_s: float | None = None


@dataclass(frozen=True)
class Codes:
    """The codes of a chat program's refusals. One that is in no set may be about the form: a plain text shows it."""

    name: str
    """Name of the field of an answer that has the code, for errors."""
    limited: Collection[int]
    wait_s: float
    """Seconds to wait after a code in `limited`."""
    later: Collection[int] = ()
    cures: Mapping[int, str] = field(default_factory=dict)
    """Cures of the codes for which a retry does not help."""

    def refusal(self, answer: Answer, code: object, words: object) -> Refusal | None:
        """Return the refusal of a code and the receiver's words; None for 0."""
        if code == 0:
            return None
        if not isinstance(code, int):
            return Refusal(Reason.LATER, f"the answer has no {self.name} ({answer.text})")
        text = answer.shown(f"{code} {words}")
        if code in self.limited:
            return Refusal(Reason.LIMITED, text, self.wait_s)
        if code in self.later:
            return Refusal(Reason.LATER, text)
        return (
            Refusal(Reason.FINAL, f"{text}; {self.cures[code]}") if code in self.cures else Refusal(Reason.FORM, text)
        )


class Dialect(Protocol):
    """The messages of one chat program. Pure."""

    @property
    def limits(self) -> Sequence[Limit]:
        """The receiver's limits of messages."""
        ...

    def rich(self, card: Card) -> dict[str, Any]:
        """Return a message with headings, facts and links, within the receiver's limits."""
        ...

    def plain(self, card: Card) -> dict[str, Any]:
        """Return a message of plain text, within the receiver's limits."""
        ...

    def signed(self, url: str, content: dict[str, Any], secret: str, at: float) -> tuple[str, dict[str, Any]]:
        """Return the address and the message with a signature. `at` is unix seconds."""
        ...

    def refusal(self, answer: Answer) -> Refusal | None:
        """Return why a message was refused that was answered with a status of success; None: it was accepted."""
        ...


class ChatBot:
    """Implements alerts.interfaces.Notifier on an incoming webhook. It cannot change a message, so an edit is nothing.

    `url` and `secret` are called at every send. They may raise DeliveryFailed.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        url: Callable[[], str],
        http: HttpPoster,
        *,
        secret: Callable[[], str] | None = None,
        words: Words = ENGLISH,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._dialect, self._url, self._http, self._secret = dialect, url, http, secret
        self._words, self._now = words, now
        self._pace = Pace(name, dialect.limits, monotonic)

    async def send(self, message: Message, root: MessageRef | None) -> MessageRef | None:
        """Post the message. Raises DeliveryFailed."""
        if message.edit:
            return None
        card = render(message, self._words)

        async def rich() -> None:
            self._pace.take()
            await self._post(self._dialect.rich(card))

        async def plain(_refused: FormRefused) -> None:
            self._pace.count()
            await self._post(self._dialect.plain(card))

        _, note = await sent_or_plain(self.name, message, rich, plain)
        return MessageRef("", note)

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _post(self, content: dict[str, Any]) -> None:
        url = self._url()
        if self._secret is not None:
            url, content = self._dialect.signed(url, content, self._secret(), self._now())
        answer = self._http.check(await self._http.post_json(url, content))
        if refusal := self._dialect.refusal(answer):
            sentence = f"{self.name}: {answer.host} refuses the message: {refusal.text}"
            if refusal.reason is Reason.FORM:
                raise FormRefused(sentence)
            raise DeliveryFailed(
                sentence, retry_after=refusal.wait_s, permanent=refusal.reason is Reason.FINAL
            ) from None


def fitted(make: Callable[[Callable[[str], str]], dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return the message of `make` with texts as long as `limit` bytes of JSON allow.

    `make` receives a function that makes a text one line and cuts it.
    """
    for longest in _SHRINKING:
        content = make(lambda text, longest=longest: cut(one_line(text), longest))  # type: ignore[misc]
        if len(orjson.dumps(content)) <= limit:
            return content
    return content


def literal(text: str) -> str:
    """Return a text in which a chat program's Markdown finds no tag, mention, link or image, in one line."""
    return one_line(text).replace("<", "＜").replace("](", "]\u200b(").replace("**", "*\u200b*").replace("`", "ˋ")


def markdown_link(text: str, url: str) -> str:
    """Return a link in Markdown. Characters that would end it early are escaped."""
    for character in "()<> \"'`":
        url = url.replace(character, f"%{ord(character):02X}")
    return f"[{literal(text)}]({one_line(url)})"


def joined(lines: Sequence[str], limit: int, between: str = "\n") -> str:
    """Return as many whole lines as `limit` bytes of UTF-8 hold; only the first one is cut."""
    text = cut_bytes(lines[0], limit)
    for line in lines[1:]:
        longer = f"{text}{between}{line}"
        if len(longer.encode()) > limit - len("…".encode()):
            return f"{text}…" if len(text.encode()) <= limit - len("…".encode()) else text
        text = longer
    return text
