"""DingTalk's custom bots. People are mentioned by `at` only, which no message has."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from yarl import URL

from alerts.notify.card import Card
from alerts.notify.chat.bot import MAX_FIELDS, Codes, Refusal, joined, literal, markdown_link
from alerts.notify.http import Answer
from alerts.notify.pace import Limit
from alerts.notify.text import cut, cut_bytes, whole_lines

TEXT_LIMIT, TITLE_LIMIT, VALUE_LIMIT = 18_000, 64, 1_000
"""Sizes in bytes. DingTalk takes 20,000 bytes a request. The title is what a notification shows."""
BLOCKED_S = 600.0
"""Seconds for which DingTalk blocks a bot that sends more than 20 messages in a minute."""
_CURES = {
    310000: "the bot's security settings refuse it: check the secret and this machine's clock, or its keywords, "
    "or its list of addresses",
    300001: "the address has no valid access_token: copy the bot's current one",
    300005: "the bot was removed: make a new one",
    400101: "the bot's access_token is not known: copy its current address",
    400102: "the bot is switched off",
}
_CODES = Codes(
    "errcode", frozenset({130101, 130102, 410100, 90018, 90002}), BLOCKED_S, frozenset({-1, 43004, 400010}), _CURES
)


class DingTalk:
    """Implements alerts.notify.chat.bot.Dialect."""

    limits = (Limit(20, 60.0),)

    def rich(self, card: Card) -> dict[str, Any]:
        """Return a message in DingTalk's Markdown. Two spaces and a line break begin a line."""
        lines = [f"### {_shown(card.title)}"]
        lines += [f"- **{_shown(name)}**: {_shown(value)}" for name, value in card.fields[:MAX_FIELDS]]
        lines += [f"> {_shown(line)}\n" for line in card.shown_lines]
        links = " | ".join(markdown_link(link.text, link.url) for link in card.links if len(link.url) <= 2000)
        lines += [links] if links else []
        lines.append(f"###### {_shown(card.footer)}")
        title = cut(literal(card.title), TITLE_LIMIT)
        return {"msgtype": "markdown", "markdown": {"title": title, "text": joined(lines, TEXT_LIMIT, "\n\n")}}

    def plain(self, card: Card) -> dict[str, Any]:
        """Return a text."""
        return {"msgtype": "text", "text": {"content": whole_lines(card.paragraphs, TEXT_LIMIT // 2)}}

    def signed(self, url: str, content: dict[str, Any], secret: str, at: float) -> tuple[str, dict[str, Any]]:
        """Add the signature to the address. It is a digest of the time in milliseconds and the secret."""
        timestamp = str(round(at * 1000))
        digest = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256).digest()
        sign = base64.b64encode(digest).decode()
        try:
            return str(URL(url).update_query({"timestamp": timestamp, "sign": sign})), content
        except ValueError:
            return url, content  # the client refuses it with the right words

    def refusal(self, answer: Answer) -> Refusal | None:
        """Return the refusal of an answer."""
        found = answer.json()
        return _CODES.refusal(answer, found.get("errcode"), found.get("errmsg", ""))


def _shown(text: str) -> str:
    return cut_bytes(literal(text), VALUE_LIMIT)
