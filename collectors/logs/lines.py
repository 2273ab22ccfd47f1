"""Bytes of a growing log cut into lines, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LINE = 64 << 10
"""Bytes of a line that are kept. The rest, to the line's end, is skipped."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class LineSplitter:
    """Cuts chunks into lines. It keeps at most MAX_LINE bytes, whatever comes."""

    def __init__(self, limit: int = MAX_LINE, *, amid: bool = False) -> None:
        """Begin at a line, or `amid` one: its rest is then skipped."""
        self._limit = limit
        self._kept = bytearray()
        self._skipping = amid
        self.cut = 0
        """Lines that were longer than the limit."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that a chunk ends, without their line breaks."""
        at = 0
        while (end := chunk.find(b"\n", at)) >= 0:
            self._keep(chunk, at, end)
            if not self._skipping or self._kept:
                yield bytes(self._kept)
            self._kept.clear()
            self._skipping = False
            at = end + 1
        self._keep(chunk, at, len(chunk))

    def rest(self) -> bytes:
        """Return the line without an end, b"" for none, and forget it."""
        kept = bytes(self._kept)
        self._kept.clear()
        self._skipping = False
        return kept

    def _keep(self, chunk: bytes, start: int, end: int) -> None:
        if self._skipping:
            return
        if not self._kept:  # a file that was truncated under its writer begins with NULs, of any number
            while start < end and chunk[start] == 0:
                start += 1
        room = self._limit - len(self._kept)
        self._kept += chunk[start : min(end, start + room)]
        if end - start > room:
            self._skipping = True
            self.cut += 1


def text_of(line: bytes) -> str | None:
    r"""Return a line as text, or None for a binary one.

    Bytes that are not UTF-8 become replacement characters. Colours are left out. Of a progress bar, which returns with
    `\r`, the last state stays.
    """
    line = line.rstrip(b"\r")
    if b"\0" in line:
        return None
    text = line.rpartition(b"\r")[2].decode("utf-8", "replace")
    return without_colours(text)


def without_colours(text: str) -> str:
    """Return a text without the escape sequences of terminals."""
    return _ANSI.sub("", text) if "\x1b" in text else text
