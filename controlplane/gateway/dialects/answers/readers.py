"""Choose the reader of an answer by its status and content type.

What was asked decides nothing: engines do not stream everything that is asked to stream.
"""

from __future__ import annotations

from functools import lru_cache

from controlplane.gateway.dialects.answers import framing
from controlplane.gateway.dialects.answers.body import BodyReader
from controlplane.gateway.dialects.answers.stream import StreamReader
from controlplane.gateway.dialects.asking.outgoing import asks_for_usage
from controlplane.gateway.request import Ask, Fields, Frames

_FRAMINGS = {
    b"text/event-stream": framing.SSE,
    b"application/x-ndjson": framing.NDJSON,
    b"application/ndjson": framing.NDJSON,
}
_UNKNOWN = {Frames.SSE: framing.SSE, Frames.NDJSON: framing.NDJSON}


@lru_cache(maxsize=64)
def _media_type(value: bytes) -> bytes:
    """Return the media type of a Content-Type, in lower case. An engine's answers have one or two."""
    return value.partition(b";")[0].strip().lower()


def reader(ask: Ask, status: int, fields: Fields) -> BodyReader | StreamReader:
    """Return a reader of one answer. A compressed answer passes unread, and its tokens are estimated."""
    kind = encoding = b""
    for name, value in fields:
        if name == b"content-type":
            kind = _media_type(value)
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    if encoding not in (b"", b"identity"):
        return BodyReader(ask, status, is_json=False, unread=True)
    framed = _FRAMINGS.get(kind) or (_UNKNOWN.get(ask.operation.frames) if ask.stream and not kind else None)
    if framed is not None and status < 400:
        return StreamReader(ask, framed, strip=asks_for_usage(ask))
    if kind == b"text/html" and ask.operation.dialect != "plain":
        return BodyReader(ask, status, is_json=False, is_page=True)
    return BodyReader(ask, status, is_json=not kind or kind == b"application/json" or kind.endswith(b"+json"))
