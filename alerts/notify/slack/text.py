"""Text for Slack: escaped for mrkdwn, in one line, within Slack's limits. Pure."""

from __future__ import annotations

from alerts.notify.card import Card
from alerts.notify.text import cut, one_line

__all__ = ["cut", "escape", "mentioned", "one_line"]


def escape(text: str) -> str:
    """Return a text escaped for mrkdwn, in one line: a line break in a label must not add a line to the message."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mentioned(card: Card, text: str) -> str:
    """Return a text of mrkdwn after the mentions of the people on call, if there are any."""
    return " ".join([*(f"<@{user}>" for user in card.mentions), text])
