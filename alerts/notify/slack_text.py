"""Text for Slack: escaped for mrkdwn, in one line, within Slack's limits. Pure."""

from __future__ import annotations


def cut(text: str, limit: int) -> str:
    """Return the text, or its beginning with an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape(text: str) -> str:
    """Return a text escaped for mrkdwn, in one line: a line break in a label must not add a line to the message."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def one_line(text: str) -> str:
    """Return the text with spaces for line breaks, and escapes for other characters that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)
