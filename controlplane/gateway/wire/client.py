"""The client's side of a connection: one request at a time, its deadlines, and how the connection ends.

Requests that a client sends before the answer to its last one ("pipelining") wait, in order and within a bound. Reading
is never paused while an answer is awaited, because a client that leaves is noticed by reading only.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import RequestHead
from controlplane.gateway.wire.incoming import Incoming
from controlplane.gateway.wire.settings import WireSettings
from controlplane.gateway.wire.timer import Deadline, TimerWheel

MAX_PIPELINED = 16
"""Most requests that wait behind the one that is being answered."""
MAX_PIPELINED_BYTES = 64 * 2**10
"""Most bytes of their heads and bodies."""
LINGER_S = 2.0
"""How long bytes are still read and thrown away after a refusal in the middle of a body. Closing at once would reset
the connection, and the client would never read the refusal."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""


class Serving(Protocol):
    """One request that is being served, as its connection sees it."""

    def body(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        ...

    def complete(self) -> None:
        """The request's body is complete."""
        ...

    def refuse(self, refusal: Refusal) -> None:
        """The rest of the body is wrong, or does not come."""
        ...

    def left(self) -> None:
        """The client has left, or does not read. Nothing more can be written."""
        ...

    def pause(self) -> None:
        """The client reads too slowly: produce nothing for now."""
        ...

    def resume(self) -> None:
        """The client has caught up."""
        ...


class Service(Protocol):
    """The server behind the connections."""

    settings: WireSettings
    wheel: TimerWheel
    stopping: bool
    """Whether connections end after their present answer."""

    def opened(self, connection: ClientConnection) -> Refusal | None:
        """Count a connection, or refuse it."""
        ...

    def closed(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        ...

    def begin(self, connection: ClientConnection, head: RequestHead) -> Serving | None:
        """Begin a request. Returns None when it was answered at once: `finish` was called then."""
        ...

    def refused(self, refusal: Refusal) -> bytes:
        """Return a whole answer for a request whose head could not be read."""
        ...


class _Waiting:
    """A pipelined request."""

    __slots__ = ("done", "head", "pieces", "size")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.size = len(head.target) + sum(len(name) + len(value) for name, value in head.fields)
        """Bytes of head and body."""
        self.pieces: list[bytes] = []
        self.done = False


class ClientConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_current", "_deadline", "_incoming", "_now", "_queue", "_queued_bytes", "_service", "_unsent", "forwarded",
        "paused", "transport", "write",
    )  # fmt: skip

    transport: asyncio.Transport
    write: Callable[[bytes], None]
    """Writes to the client."""

    def __init__(self, service: Service) -> None:
        self.forwarded = b""
        """Lines that tell an engine who the client is."""
        self.paused = False
        """Whether the client reads more slowly than it is written to."""
        self._service = service
        self._now = service.wheel.now
        self._incoming = Incoming(self, service.settings.max_head_bytes)
        self._deadline = Deadline(service.wheel, self._late)
        self._current: Serving | None = None
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._unsent = 0
        """Bytes that waited for the client when that was looked at last."""

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection and wait for its first head."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        peer = transport.get_extra_info("peername")
        address = peer[0].encode() if isinstance(peer, tuple) else b"unknown"
        scheme = b"http" if transport.get_extra_info("ssl_object") is None else b"https"
        self.forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n" % (address, scheme)
        if (refusal := self._service.opened(self)) is not None:
            self._refuse(refusal)
        else:
            # The first head may take as long as any: a resting connection is one that has served a request.
            self._set_deadline(self._service.settings.head_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._incoming.closed:
            return
        incoming = self._incoming
        if self._current is None and (again := incoming.again(data)) is not None:
            self._whole(*again)
            return
        within = incoming.begun
        refusal = incoming.feed(data)
        if refusal is not None:
            self._unreadable(refusal)
        elif incoming.closed:
            return
        elif incoming.receiving:
            self._set_deadline(self._service.settings.body_timeout_s)
        elif incoming.begun and not within and self._current is None:
            self._set_deadline(self._service.settings.head_timeout_s)

    def eof_received(self) -> bool:
        """The client has left: one that only ends its own half is not served on."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._leave()
        self._incoming.lost()
        self._deadline.close()
        self._service.closed(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self.paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self._set_deadline(self._service.settings.body_timeout_s)
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.paused = False
        if self._current is not None:
            if not self._incoming.receiving:
                self._clear_deadline()
            self._current.resume()
        elif not self._incoming.closed:
            self._rest()

    # Calls of the parser

    def head(self, head: RequestHead) -> None:
        """Begin a request, or let it wait."""
        if self._current is None:
            self._serve(head)
        elif len(self._queue) < MAX_PIPELINED:
            waiting = _Waiting(head)
            self._queue.append(waiting)
            self._wait_for(waiting, waiting.size)
        else:
            self._overrun()

    def body(self, data: bytes) -> None:
        """Hand a piece of a body to its request."""
        if self._incoming.closed:
            return
        if self._queue:
            waiting = self._queue[-1]
            waiting.pieces.append(data)
            waiting.size += len(data)
            self._wait_for(waiting, len(data))
        elif self._current is not None:
            self._current.body(data)

    def complete(self) -> None:
        """The body is complete."""
        if self._incoming.closed:
            return
        if self._queue:
            self._queue[-1].done = True
        elif self._current is not None:
            self._clear_deadline()
            self._current.complete()

    # Calls of the request that is being served

    def continue_body(self) -> None:
        """Tell a client that waits for leave to send its body to send it."""
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def finish(self, *, keep_alive: bool) -> None:
        """The answer is complete. The next request begins, or the connection ends."""
        self._current = None
        incoming = self._incoming
        if incoming.receiving and not self._queue and not incoming.closed:
            # The request was answered before its body came: no further request can be found behind it.
            self._linger()
        elif not keep_alive:
            self._end()
        elif self._queue:
            self._next()
        elif incoming.closed:
            self._end()
        elif incoming.begun:
            self._set_deadline(self._service.settings.head_timeout_s)
        else:
            self._rest()

    def abort(self, *, reset: bool) -> None:
        """End the connection so that the client sees that the answer is not complete.

        What was written is sent first: it says why. The missing last chunk, or the missing rest of the body, shows the
        break. `reset`: the end of the connection would be the end of the answer, so it is ended by a reset.
        """
        self._current = None
        if reset and (raw := self.transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._end()

    def keeps(self) -> bool:
        """Return whether the connection may be used again after the present answer."""
        if self._queue:
            return True
        incoming = self._incoming
        return not incoming.receiving and not incoming.closed and not self._service.stopping

    def close_idle(self) -> None:
        """End the connection if no request is open or has begun to arrive."""
        if self._current is None and not self._incoming.begun:
            self._end()

    # Within

    def _set_deadline(self, seconds: float) -> None:
        now = self._now()
        self._deadline.set(now + seconds, now)

    def _clear_deadline(self) -> None:
        if not self.paused:  # else it is that of a client that does not read
            self._deadline.clear()

    def _serve(self, head: RequestHead) -> Serving | None:
        if not self.paused:
            self._deadline.at = math.inf
        serving = self._service.begin(self, head)
        if serving is not None:
            self._current = serving
        return serving

    def _whole(self, head: RequestHead, body: bytes) -> None:
        """Serve a request that came whole."""
        serving = self._serve(head)
        if serving is not None:
            serving.body(body)
            if self._current is serving:
                serving.complete()

    def _next(self) -> None:
        """Begin the request that waits longest."""
        waiting = self._queue.popleft()
        self._queued_bytes -= waiting.size
        serving = self._serve(waiting.head)
        if serving is None:
            return
        for piece in waiting.pieces:
            serving.body(piece)
        if waiting.done and self._current is serving:
            serving.complete()

    def _rest(self) -> None:
        if self._service.stopping:
            self._end()
        else:
            self._set_deadline(self._service.settings.idle_timeout_s)

    def _end(self) -> None:
        """Close once all is sent. A client that does not read keeps the connection for a while, and not for ever."""
        self._close_incoming()
        self._set_deadline(self._service.settings.body_timeout_s)
        self.transport.close()

    def _linger(self) -> None:
        """End the client's half of reading, and throw away what it still sends until it closes, or for a while."""
        if not self.transport.can_write_eof():  # TLS has no half of a connection
            self._end()
            return
        self._close_incoming()
        self._set_deadline(LINGER_S)
        self.transport.write_eof()

    def _close_incoming(self) -> None:
        self._incoming.close()
        self._queue.clear()

    def _leave(self) -> None:
        self._close_incoming()
        current, self._current = self._current, None
        if current is not None:
            current.left()

    def _late(self) -> None:
        """The deadline has passed: of a head, a body, an answer that is not read, a rest, or an end."""
        incoming, settings = self._incoming, self._service.settings
        if incoming.closed and self._current is None:
            self.transport.abort()
        elif self.paused:
            unsent = self.transport.get_write_buffer_size()
            if unsent < self._unsent:  # slow, and not dead
                self._unsent = unsent
                self._set_deadline(settings.body_timeout_s)
            else:
                self._leave()
                self.transport.abort()
        elif incoming.receiving and not self._queue:
            message = f"The body of the request paused for {settings.body_timeout_s:g} seconds"
            self._refuse(Refusal(RefusalKind.TOO_SLOW, message))
        elif incoming.begun and self._current is None:
            message = f"The head of the request took over {settings.head_timeout_s:g} seconds"
            self._refuse(Refusal(RefusalKind.TOO_SLOW, message))
        elif self._current is None:
            self._end()

    def _wait_for(self, waiting: _Waiting, more: int) -> None:
        """Count bytes of the last request that waits. It is dropped if they are too many."""
        self._queued_bytes += more
        if self._queued_bytes > MAX_PIPELINED_BYTES:
            self._queue.pop()
            self._queued_bytes -= waiting.size
            self._overrun()

    def _overrun(self) -> None:
        """Too much waits: what waits is served, then the connection ends, and the client sends the rest again."""
        self._incoming.closed = True

    def _unreadable(self, refusal: Refusal) -> None:
        if self._current is None or (self._incoming.receiving and not self._queue):
            # Nothing is being answered, or it is the body of the present request that broke.
            self._refuse(refusal)
        else:
            self._incoming.close()  # the answers before it come first; then the connection ends

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a request that cannot be read whole, and end the connection."""
        if self._current is not None:
            self._current.refuse(refusal)
        else:
            self.write(self._service.refused(refusal))
            self._linger()
