"""WeCom's (WeChat Work's) group bots. `<@user>` mentions people in Markdown, so no text has a `<` of its own."""

from __future__ import annotations

from typing import Any

from alerts.notify.card import Card
from alerts.notify.chat.bot import MAX_FIELDS, Codes, Refusal, joined, literal, markdown_link
from alerts.notify.http import Answer
from alerts.notify.pace import Limit
from alerts.notify.text import cut_bytes, whole_lines

MARKDOWN_LIMIT, TEXT_LIMIT, VALUE_LIMIT = 4096, 2048, 600
"""Bytes of UTF-8 that WeCom takes, and of one value (chosen)."""
_CURES = {
    93000: "the address is not valid, or the bot was removed: copy the bot's current one",
    40001: "the key in the address is not valid: copy the bot's current address",
    60020: "this machine's address is not allowed",
}
_CODES = Codes("errcode", frozenset({45009, 45033}), 60.0, frozenset({-1}), _CURES)


class WeCom:
    """Implements alerts.notify.chat.bot.Dialect."""

    limits = (Limit(20, 60.0),)

    def rich(self, card: Card) -> dict[str, Any]:
        """Return a message in WeCom's Markdown."""
        colour = "warning" if card.status == "firing" else "info"
        links = " | ".join(markdown_link(link.text, link.url) for link in card.links if len(link.url) <= 1000)
        lines = [f'**<font color="{colour}">{_shown(card.title)}</font>**']
        lines += [f"> {_shown(name)}: **{_shown(value)}**" for name, value in card.fields[:MAX_FIELDS]]
        # Before the alerts, because these may be cut.
        lines += [links] if links else []
        lines += [_shown(line) for line in card.shown_lines]
        lines.append(f'<font color="comment">{_shown(card.footer)}</font>')
        return {"msgtype": "markdown", "markdown": {"content": joined(lines, MARKDOWN_LIMIT)}}

    def plain(self, card: Card) -> dict[str, Any]:
        """Return a text."""
        text = whole_lines(card.paragraphs, TEXT_LIMIT // 2).replace("<", "＜")
        return {"msgtype": "text", "text": {"content": cut_bytes(text, TEXT_LIMIT)}}

    def signed(self, url: str, content: dict[str, Any], secret: str, at: float) -> tuple[str, dict[str, Any]]:
        """Return both unchanged: WeCom has no signatures, the key in the address is its secret."""
        return url, content

    def refusal(self, answer: Answer) -> Refusal | None:
        """Return the refusal of an answer."""
        found = answer.json()
        return _CODES.refusal(answer, found.get("errcode"), found.get("errmsg", ""))


def _shown(text: str) -> str:
    return cut_bytes(literal(text), VALUE_LIMIT)
