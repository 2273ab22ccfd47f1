"""Reading an answer that came as a whole. Pure."""

from __future__ import annotations

from typing import NamedTuple

from collectors.probe.protocol import Dialect, EventStream

_STREAMS = (b"data:", b"event:", b":")
"""Begins of server-sent events."""


class Said(NamedTuple):
    """The properties of an answer that an Expectation is compared with."""

    text: str
    dimension: int | None
    """Length of an embedding."""


def said_in(dialect: Dialect, body: bytes) -> Said:
    """Return the content of a body: one JSON document, or server-sent events. Raises BadAnswer for any other."""
    messages = [body.decode("utf-8", "replace")]
    if body.lstrip().startswith(_STREAMS):
        messages = EventStream().feed(body + b"\n\n")
    texts: list[str] = []
    dimension: int | None = None
    for data in messages:
        event = dialect.event(data)
        texts.append(event.text)
        dimension = event.dimension if dimension is None else dimension
        if data.strip() == "[DONE]":
            break
    return Said("".join(texts), dimension)
