"""Text within a receiver's limits, in one line, without characters that cannot be printed. Pure."""

from __future__ import annotations


def cut(text: str, limit: int) -> str:
    """Return the text, or its beginning with an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut_bytes(text: str, limit: int) -> str:
    """Return the text, or its beginning with an ellipsis where it has more than `limit` bytes of UTF-8."""
    body = text.encode()
    if len(body) <= limit:
        return text
    return body[: max(0, limit - 3)].decode(errors="ignore") + "…"


def one_line(text: str) -> str:
    """Return the text with spaces for line breaks, and escapes for other characters that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)


def whole_lines(lines: tuple[str, ...], limit: int) -> str:
    """Return lines in one text of at most `limit` bytes of UTF-8. Each line is made one line first."""
    return cut_bytes("\n".join(one_line(line) for line in lines), limit)
