"""The time to the first token of a reply. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from controlplane.traffic.engine_server import Reply

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_STREAMS = (b"data:", b"event:", b":")
"""Begins of server-sent events."""


def first_token_s(reply: Reply, has_output: Callable[[Any], bool]) -> float | None:
    """Return the seconds until the first event with output had come. None: the reply is no stream, or has no output.

    Engines send a first event without text when they accept a request, which says nothing about the model.
    """
    body = reply.body
    if not body.lstrip().startswith(_STREAMS):
        return None
    start = 0
    for end in _END.finditer(body):
        if has_output(_json(body[start : end.start()])):
            return next(seconds for size, seconds in reply.reads if size >= end.end())
        start = end.end()
    return None


def _json(event: bytes) -> Any:
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    try:
        return json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return None
