"""The control channel between the supervisor and a worker: frames over a pair of sockets.

A frame is the length of its head and of its body (two 32-bit numbers, big-endian), the head as JSON, and the body as
bytes. The body holds a desired state, which the supervisor encodes once for all workers.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import orjson

from controlplane.gateway.errors import GatewayError

SIZES = struct.Struct("!II")
MAX_HEAD = 16 * 2**20
"""Largest head. Chosen: far above a report on thousands of models."""
MAX_BODY = 128 * 2**20
"""Largest body. Chosen: above the largest desired state that is read."""


class Frame(NamedTuple):
    """One message."""

    head: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes on the channel."""
        head = orjson.dumps(self.head)
        return SIZES.pack(len(head), len(self.body)) + head + self.body


class Frames:
    """Cuts the bytes of a channel into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Add bytes and return the frames that they complete. Raises GatewayError for bytes that are no frame."""
        self._data += data
        found = []
        while len(self._data) >= SIZES.size:
            head, body = SIZES.unpack_from(self._data)
            if head > MAX_HEAD or body > MAX_BODY:
                raise GatewayError(f"the control channel holds a frame of {head} and {body} bytes, which is no frame")
            end = SIZES.size + head + body
            if len(self._data) < end:
                break
            words = bytes(self._data[SIZES.size : SIZES.size + head])
            found.append(Frame(_head(words), bytes(self._data[SIZES.size + head : end])))
            del self._data[:end]
        return found


class Channel(asyncio.Protocol):
    """One end of the control channel. `frame` is called with each frame, `ended` once when the other end is gone."""

    def __init__(self, frame: Callable[[Frame], None], ended: Callable[[], None]) -> None:
        self._frame, self._ended, self._frames = frame, ended, Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand on whole frames."""
        for frame in self._frames.feed(data):
            self._frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the other end is gone."""
        self._transport = None
        self._ended()

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send a frame. Does nothing when the other end is gone."""
        if self._transport is not None:
            self._transport.write(Frame(head, body).encode())

    def close(self) -> None:
        """Close this end, once what was sent is on its way."""
        if self._transport is not None:
            self._transport.close()


def _head(data: bytes) -> dict[str, Any]:
    try:
        head = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise GatewayError(f"the control channel holds no frame: {error}") from error
    if not isinstance(head, dict):
        raise GatewayError("the control channel holds no frame: its head is no object")
    return head
