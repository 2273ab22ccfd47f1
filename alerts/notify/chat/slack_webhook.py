"""Slack's incoming webhooks, and programs that take the same messages. They have no threads and no updates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alerts.notify.card import Card
from alerts.notify.chat.bot import Reason, Refusal
from alerts.notify.http import Answer
from alerts.notify.pace import Limit
from alerts.notify.slack.blocks import slack_message, slack_plain
from alerts.notify.slack.look import sender


class SlackWebhook:
    """Implements alerts.notify.chat.bot.Dialect."""

    limits = (Limit(1, 1.0),)

    def rich(self, card: Card) -> dict[str, Any]:
        """Return a message of blocks. Buttons are left out: a click on them would reach nobody."""
        content = slack_message(replace(card, buttons=()))
        return {part: value for part, value in content.items() if value} | sender(card)

    def plain(self, card: Card) -> dict[str, Any]:
        """Return a text."""
        return {"text": slack_plain(card)} | sender(card)

    def signed(self, url: str, content: dict[str, Any], secret: str, at: float) -> tuple[str, dict[str, Any]]:
        """Return both unchanged: the address itself is the secret."""
        return url, content

    def refusal(self, answer: Answer) -> Refusal | None:
        """Return the refusal of an answer. Some programs answer 200 with `{"ok": false}`, as Slack's Web API does."""
        found = answer.json()
        return Refusal(Reason.FORM, answer.shown(str(found.get("error")))) if found.get("ok") is False else None
