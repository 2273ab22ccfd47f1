"""Events in bytes: where they end, and the JSON text in them (server-sent events, and lines of JSON)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.gateway.dialects import json_scan
from controlplane.gateway.dialects.errors import Unreadable

LARGE = 64 * 2**10
"""Bytes above which an event is scanned, not parsed. Chosen: the parser takes 0.1 ms for so many."""
_SMALL_MEMBERS = frozenset(
    (
        *("type", "object", "error", "error_code", "message", "code", "usage", "meta_info", "done", "response"),
        *("choices", "status", "incomplete_details", "delta", "done_reason", "stop_reason", "finish_reason"),
    )
)


@dataclass(frozen=True, slots=True)
class Framing:
    """One way to put events in a body."""

    end: bytes
    """The common end of an event."""
    ends: re.Pattern[bytes]
    """All ends of an event."""
    text: Callable[[bytes], bytes]
    """Returns the JSON text of an event, or b"" when it has none."""


def parse(text: bytes) -> dict[str, object] | None:
    """Return an event's JSON object, or None when it is none. Of a large one only small members are returned."""
    if len(text) <= LARGE:
        try:
            document = json_scan.parse(text)
        except Unreadable:
            return None
        return document if isinstance(document, dict) else None
    try:
        return _small_members(text)
    except Unreadable:
        return None


def _small_members(text: bytes) -> dict[str, object]:
    found: dict[str, object] = {}
    for member in json_scan.members(text):
        if member.name in _SMALL_MEMBERS:
            if member.end - member.start <= LARGE:
                found[member.name] = json_scan.value(text, member)
            elif text[member.start : member.start + 1] == b"{":
                found[member.name] = _small_members(text[member.start : member.end])
            else:
                found[member.name] = None
    return found


def _sse_text(event: bytes) -> bytes:
    """Return the data of a server-sent event, its lines joined as the standard says."""
    if event.startswith(b"data: ") and b"\n" not in event[:-2] and b"\r" not in event[:-4]:
        return event[6:].rstrip(b"\r\n")
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def _line_text(event: bytes) -> bytes:
    return event.strip()


SSE = Framing(b"\n\n", re.compile(rb"(?:\r\n\r\n|\n\n|\r\r)[\r\n]*"), _sse_text)
"""More empty lines belong to the event before."""
NDJSON = Framing(b"\n", re.compile(rb"\n"), _line_text)
