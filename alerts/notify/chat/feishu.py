"""Feishu's (Lark's) custom bots. Texts are of type plain_text, in which neither markup nor `<at>` acts."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from alerts.notify.card import Card
from alerts.notify.chat.bot import MAX_FIELDS, Codes, Refusal, fitted
from alerts.notify.http import Answer
from alerts.notify.pace import Limit
from alerts.notify.text import whole_lines

BODY_LIMIT = 20_000
"""Bytes of a request: Feishu takes 20 KB, signature included."""
TEXT_LIMIT = 9_000
"""Bytes of a plain text. Chosen: JSON may double them."""
_CURES = {
    19001: "the address is not valid: copy the bot's current one",
    19021: "the signature does not match: check the secret, and this machine's clock",
    19022: "this machine's address is not in the bot's list of addresses",
    19024: "the message has none of the bot's keywords: add `告警` or `FIRING`, or use a signature instead",
}
_CODES = Codes("code", frozenset({11232, 9429}), 60.0, cures=_CURES)
_COLOURS = {"critical": "red", "warning": "orange"}


class Feishu:
    """Implements alerts.notify.chat.bot.Dialect."""

    limits = (Limit(100, 60.0), Limit(5, 1.0))

    def rich(self, card: Card) -> dict[str, Any]:
        """Return an interactive card."""
        return {"msg_type": "interactive", "card": fitted(lambda short: _card(card, short), BODY_LIMIT - 500)}

    def plain(self, card: Card) -> dict[str, Any]:
        """Return a text. `<at>` acts in it, so it has no `<`."""
        return {"msg_type": "text", "content": {"text": whole_lines(card.paragraphs, TEXT_LIMIT).replace("<", "＜")}}

    def signed(self, url: str, content: dict[str, Any], secret: str, at: float) -> tuple[str, dict[str, Any]]:
        """Add the signature to the message. Its key is the time and the secret, and its text is empty."""
        timestamp = str(int(at))
        digest = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
        return url, {"timestamp": timestamp, "sign": base64.b64encode(digest).decode(), **content}

    def refusal(self, answer: Answer) -> Refusal | None:
        """Return the refusal of an answer. Older bots call the code StatusCode."""
        found = answer.json()
        code = found.get("code", found.get("StatusCode"))
        return _CODES.refusal(answer, code, found.get("msg", found.get("StatusMessage", "")))


def _card(card: Card, short: Callable[[str], str]) -> dict[str, Any]:
    colour = "green" if card.status == "resolved" else _COLOURS.get(card.severity, "blue")
    fields = [
        {"is_short": True, "text": _plain(f"{short(name)}: {short(value)}")} for name, value in card.fields[:MAX_FIELDS]
    ]
    elements: list[dict[str, Any]] = [{"tag": "div", "fields": fields}] if fields else []
    elements += [{"tag": "div", "text": _plain(f"• {short(line)}")} for line in card.shown_lines]
    buttons = [
        {"tag": "button", "text": _plain(short(link.text)), "url": link.url, "type": "default"}
        for link in card.links
        if len(link.url) <= 2000
    ]
    elements += [{"tag": "action", "actions": buttons}] if buttons else []
    elements.append({"tag": "note", "elements": [_plain(short(card.footer))]})
    return {"header": {"title": _plain(short(card.title)), "template": colour}, "elements": elements}


def _plain(text: str) -> dict[str, str]:
    return {"tag": "plain_text", "content": text}
