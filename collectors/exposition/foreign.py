"""Recognition of bodies that are not in the exposition format, with the likely cure. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LOOKED_AT = 4096
"""Bytes at the start of a body that are looked at. Chosen: more than the comments above a page's first tag."""
_JSON = re.compile(rb'\[|\{\s*(?:"(?:[^"\\]|\\.)*+"\s*:|\}\s*\Z)')
"""The start of a JSON array or object. A line of metrics may begin with `{"name"}`, without the colon."""
_HTML = re.compile(rb"(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|script)\b", re.IGNORECASE | re.DOTALL)
_GZIP = b"\x1f\x8b"


def foreign(lines: Sequence[bytes]) -> str:
    """Return what a body is that could not be parsed, and what to check; "" for what is not recognised."""
    start = _start(lines)
    if start.startswith(_GZIP):
        return "the body is compressed, and its Content-Encoding does not say so: check the exporter or its proxy"
    if _HTML.match(start):
        return "the body is a page of HTML, not metrics: check path:, and whether a proxy or a sign-in page answers"
    if start.startswith(b"<"):
        return "the body is XML, not metrics: check path:"
    if _JSON.match(start):
        return "the body is JSON, not metrics: check path:"
    return ""


def is_json_list(body: bytes) -> bool:
    """Return whether a body is a list in JSON. No page of metrics begins as one."""
    return body[:_LOOKED_AT].lstrip().startswith(b"[")


def _start(lines: Sequence[bytes]) -> bytes:
    found = b""
    for line in lines:
        found += line[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf") + b"\n"
        if len(found) > _LOOKED_AT:
            break
    return found.lstrip()
