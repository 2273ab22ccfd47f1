"""Markdown of the runbooks as HTML."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def markdown(text: str) -> Markup:
    """Return a runbook's text as HTML. It escapes HTML in the text, and refuses links that run scripts."""
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - the text is part of the program
