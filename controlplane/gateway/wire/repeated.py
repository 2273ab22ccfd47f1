"""Heads that come again: clients and engines send the same head with each message of a connection, but for its length.

A read that is a known head and its whole body needs no parser. Only the digits of Content-Length differ, so whatever
the parser and the guards said of the first head holds for it.
"""

from __future__ import annotations

MOST_BYTES = 64 * 2**10
"""Bytes of the longest read that is looked at. With a longer body, a refused request ends its connection."""
_NAME = b"\r\ncontent-length:"
_END = b"\r\n\r\n"
_MOST_DIGITS = 8


class Outline:
    """A head without the digits of its Content-Length."""

    __slots__ = ("_after", "_before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        """From behind the digits to the empty line, which it includes."""

    def body_of(self, data: bytes) -> int:
        """Return where the body of a read begins that is this head and a whole body, or 0 for any other read."""
        before, after = self._before, self._after
        at = len(before)
        stop = data.find(b"\r", at, at + _MOST_DIGITS)
        start = stop + len(after)
        if (
            data.startswith(before)
            and data.startswith(after, stop)
            and data[at:stop] == b"%d" % (len(data) - start)
            and len(data) <= MOST_BYTES
        ):
            return start
        return 0


def outline_of(data: bytes, fields: int) -> Outline | None:
    """Return the outline of a read that was parsed as one head of `fields` fields and its whole body.

    None: it is no such read, or its head has no length, or lines that another reader would count in another way.
    """
    end = data.find(_END) + len(_END)
    head = data[:end]
    lines = head.count(b"\r\n")
    if len(data) > MOST_BYTES or lines != fields + 2 or head.count(b"\n") != lines or head.count(b"\r") != lines:
        return None
    name = head.lower().find(_NAME)
    if name < 0:
        return None
    at = name + len(_NAME)
    while head[at : at + 1] == b" ":
        at += 1
    stop = head.find(b"\r", at)
    outline = Outline(head[:at], head[stop:])
    return outline if outline.body_of(data) == end else None
