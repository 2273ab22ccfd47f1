"""Microsoft Teams: a workflow with the trigger "when a Teams webhook request is received".

Texts are runs of a RichTextBlock, which Teams shows as they are; a TextBlock would act on Markdown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alerts.notify.card import Card
from alerts.notify.chat.bot import MAX_FIELDS, Reason, Refusal, fitted
from alerts.notify.http import Answer
from alerts.notify.pace import Limit
from alerts.notify.text import one_line, whole_lines

BODY_LIMIT, TEXT_LIMIT = 28_000, 12_000
"""Bytes of a request, of which Teams takes 28 KB, and of a plain text (chosen: JSON may double them)."""
SUMMARY_LIMIT = 500
"""Characters of the text that Teams shows in a notification on the screen (chosen)."""
OWN_LINES = 50
"""Lines of a text of the receiver's own (chosen: a card of 28 KB has hardly more)."""
_COLOURS = {"critical": "attention", "warning": "warning"}


class MSTeams:
    """Implements alerts.notify.chat.bot.Dialect."""

    limits = (Limit(4, 1.0),)

    def rich(self, card: Card) -> dict[str, Any]:
        """Return a message with an adaptive card."""
        own = card.texts.get("summary", "").strip()
        summary = {"summary": one_line(own)[:SUMMARY_LIMIT]} if own else {}
        return fitted(lambda short: _message(*_card(card, short)) | summary, BODY_LIMIT)

    def plain(self, card: Card) -> dict[str, Any]:
        """Return a message whose card is one text without actions."""
        lines = whole_lines(card.paragraphs, TEXT_LIMIT).split("\n")
        return _message([_runs(line) for line in lines], []) | {"text": one_line(card.title)[:500]}

    def signed(self, url: str, content: dict[str, Any], secret: str, at: float) -> tuple[str, dict[str, Any]]:
        """Return both unchanged: the address itself is the secret."""
        return url, content

    def refusal(self, answer: Answer) -> Refusal | None:
        """Return the refusal of an answer. Office's connectors answer 200 and a sentence with Teams's own status."""
        text = answer.text
        if "failed" not in text.lower():
            return None
        if "429" in text:
            return Refusal(Reason.LIMITED, text)
        return Refusal(Reason.FORM if "413" in text or "400" in text else Reason.LATER, text)


def _card(card: Card, short: Callable[[str], str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    colour = "good" if card.status == "resolved" else _COLOURS.get(card.severity, "accent")
    body = [_runs(short(card.title), size="large", weight="bolder", color=colour)]
    body += [_runs(short(line)) for line in card.own_lines[:OWN_LINES]]
    body += [
        {"type": "RichTextBlock", "inlines": [_run(f"{short(name)}: ", weight="bolder"), _run(short(value))]}
        for name, value in card.fields[:MAX_FIELDS]
    ]
    body += [_runs(f"• {short(line)}") for line in card.shown_lines]
    body.append(_runs(short(card.footer), size="small", isSubtle=True))
    actions = [
        {"type": "Action.OpenUrl", "title": short(link.text), "url": link.url}
        for link in card.links
        if len(link.url) <= 2000
    ]
    return body, actions


def _message(body: list[dict[str, Any]], actions: list[dict[str, Any]]) -> dict[str, Any]:
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
        "msteams": {"width": "Full"},
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [attachment]}


def _runs(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [_run(text, **style)]}


def _run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}
