"""Request bodies: read after the sender is known, bounded in size and time, each, per sender and all together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from controlplane.errors import TooLarge, TooSlow, Unavailable

MAX_BODY_BYTES = 2**20
"""Largest body: 1 MiB. Chosen: no request of the CLI or the console is larger."""
BODY_S = 30.0
"""Longest time for a body, in seconds: enough for 1 MiB at 35 kB/s."""
BODIES_BYTES = 32 * 2**20
"""Most bytes of all bodies in memory. Remote write has a budget of its own."""
SENDER_BYTES = 8 * 2**20
"""Most bytes of one sender's bodies in memory: eight of the largest requests."""

Hold = Callable[[int], None]
"""Takes a number of bytes from a budget. Raises Unavailable when the budget has too few."""


class BodyBudget:
    """Bounds the memory for the bodies of all requests, and of one sender's requests."""

    def __init__(self, total: int = BODIES_BYTES, of_sender: int = SENDER_BYTES) -> None:
        self._total, self._of_sender = total, of_sender
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes that bodies hold now."""
        return self._held.total()

    @contextmanager
    def of(self, sender: str) -> Iterator[Hold]:
        """Yield the function that takes bytes for one request's body. They are returned at the end of the context."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if self._held[sender] + size > self._of_sender:
                raise Unavailable(f"requests of this sender hold {self._of_sender} bytes already; try again")
            if self.held + size > self._total:
                raise Unavailable(f"the bodies of other requests hold {self._total} bytes already; try again")
            self._held[sender] += size
            mine += size

        try:
            yield hold
        finally:
            self._held[sender] -= mine
            if not self._held[sender]:
                del self._held[sender]


class Unanswered(Response):
    """An answer that sends nothing: the client disconnected before its request was complete, so nothing was done."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do nothing."""


def unbounded(_size: int) -> None:
    """Hold nothing, for a body that another budget counts."""


async def read_body(scope: Scope, receive: Receive, limit: int, hold: Hold = unbounded) -> bytes | None:
    """Return the whole body, or None when the client disconnected before its end: half a request must not act.

    `hold` is called with the size of every piece. Raises TooLarge beyond `limit` bytes, declared or streamed, TooSlow
    after BODY_S, and the errors of `hold`.
    """
    declared = Headers(scope=scope).get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_S):
            return await _read(receive, limit, hold)
    except TimeoutError as error:
        raise TooSlow(f"the body was not complete within {BODY_S:g} s") from error


async def _read(receive: Receive, limit: int, hold: Hold) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        hold(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns the body, and then the further messages of the connection."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
