"""W3C trace context: the header `traceparent` (https://www.w3.org/TR/trace-context/). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

SAMPLED = 0x01
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class Parent(NamedTuple):
    """A caller's span. Ids are lower-case hex."""

    trace_id: bytes
    span_id: bytes
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether the caller exports its span."""
        return bool(self.flags & SAMPLED)


def parent_of(header: bytes) -> Parent | None:
    """Return the caller's span of a `traceparent`. None: there is no header, or not a valid one.

    A later version may have more fields behind those of version 00. Version ff is not valid.
    """
    found = _TRACEPARENT.fullmatch(header.strip())
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
        return None
    if found[2] == _NO_TRACE or found[3] == _NO_SPAN:
        return None
    return Parent(found[2], found[3], int(found[4], 16))


def traceparent(trace_id: bytes, span_id: bytes, flags: int) -> bytes:
    """Return the header for the next hop."""
    return b"00-%b-%b-%02x" % (trace_id, span_id, flags)
