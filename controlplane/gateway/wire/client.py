"""The client's side of a connection: bytes to heads and bodies, one request at a time, and the answer's bytes back.

Requests that a client sends before the answer to its last one ("pipelining") wait, in order and within a bound. Reading is
never paused while an answer is awaited, because a client that leaves is noticed by reading only.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import NoReturn, Protocol, cast

import httptools

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Fields, RequestHead
from controlplane.gateway.wire.head import MAX_FIELDS, malformed, read_head
from controlplane.gateway.wire.settings import WireSettings
from controlplane.gateway.wire.timer import Deadline, TimerWheel

MAX_PIPELINED = 16
"""Most requests that wait behind the one that is being answered."""
MAX_PIPELINED_BYTES = 64 * 2**10
"""Most bytes of their bodies."""
LINGER_S = 2.0
"""How long bytes are still read and thrown away after a refusal in the middle of a body. Closing at once would reset the
connection, and the client would never read the refusal."""
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

    def left(self) -> None:
        """The client has left, or sends or reads too slowly. Nothing more can be written."""
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

    __slots__ = ("done", "head", "pieces")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.pieces: list[bytes] = []
        self.done = False


class _Stop(Exception):
    """Ends the parsing of a connection, from within a callback of the parser."""


class ClientConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_begun",
        "_current",
        "_deadline",
        "_deaf",
        "_fields",
        "_head_bytes",
        "_in_head",
        "_parser",
        "_paused",
        "_queue",
        "_queued_bytes",
        "_raw_left",
        "_receiving",
        "_refusal",
        "_target",
        "_unsent",
        "forwarded",
        "idle",
        "loop_time",
        "peer",
        "service",
        "transport",
        "write",
    )

    transport: asyncio.Transport
    write: Callable[[bytes], None]
    """Writes to the client. After the connection is lost it does nothing."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.peer = b""
        """Address of the client."""
        self.forwarded = b""
        """Lines that tell an engine who the client is."""
        self.idle = True
        """Whether no request is open or has begun to arrive."""
        self.loop_time = service.wheel.now
        self._parser: httptools.HttpRequestParser | None = None
        self._deadline = Deadline(service.wheel, self._late)
        self._current: Serving | None = None
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._target = b""
        self._fields: Fields = []
        self._in_head = True
        self._begun = False
        """Whether the first byte of a head came."""
        self._head_bytes = 0
        """Bytes that came for the head, until it is complete."""
        self._receiving = False
        """Whether a body is on its way."""
        self._raw_left: int | None = None
        """Bytes of a body that the parser does not read, after an offer to change the protocol that is not taken."""
        self._deaf = False
        """Whether what still comes is thrown away: the connection ends after the present answer."""
        self._paused = False
        """Whether the client reads more slowly than it is written to."""
        self._unsent = 0
        """Bytes that waited for the client when that was looked at last."""
        self._refusal: Refusal | None = None

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection and wait for its first head."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        peer = transport.get_extra_info("peername")
        self.peer = peer[0].encode() if isinstance(peer, tuple) else b"unix"
        scheme = b"http" if transport.get_extra_info("ssl_object") is None else b"https"
        self.forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n" % (self.peer, scheme)
        if (refusal := self.service.opened(self)) is not None:
            self._refuse(refusal)
            return
        self._parser = httptools.HttpRequestParser(self)
        now = self.loop_time()
        # The first head may take as long as any: an idle connection is one that has served a request.
        self._deadline.set(now + self.service.settings.head_timeout_s, now)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._deaf:
            return
        if self._raw_left is not None and not (data := self._raw(data)):
            self._body_goes_on()
            return
        in_head = self._in_head
        if in_head:
            self._head_bytes += len(data)
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._unreadable(error)
            return
        if self._receiving:
            self._body_goes_on()
        elif self._begun:
            self._head_goes_on(first=not in_head or self._head_bytes == len(data))

    def eof_received(self) -> bool:
        """The client has left: one that only ends its own half is not served on."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._leave()
        self._deadline.close()
        self._parser = None  # it holds this connection: without this the two wait for the garbage collector
        self.service.closed(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._paused = True
        self._unsent = self.transport.get_write_buffer_size()
        now = self.loop_time()
        self._deadline.set(now + self.service.settings.body_timeout_s, now)
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._deaf and self._current is None:
            return  # the deadline of the end stays
        self._paused = False
        if not self._receiving:
            self._deadline.clear()
        if self._current is not None:
            self._current.resume()
        elif self.idle:
            self._rest()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """The first byte of a head came."""
        self._begun = True
        self.idle = False
        self._fields = []

    def on_url(self, part: bytes) -> None:
        """Keep a part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field."""
        fields = self._fields
        fields.append((name.lower(), value))
        if len(fields) > MAX_FIELDS:
            self._stop(Refusal(RefusalKind.HEAD_TOO_LARGE, f"The request has more than {MAX_FIELDS} header fields"))

    def on_headers_complete(self) -> None:
        """Guard the head, and begin its request or let it wait."""
        assert self._parser is not None
        if self._deaf:
            raise _Stop
        self._in_head = self._begun = False
        parser, settings = self._parser, self.service.settings
        if self._head_bytes > settings.max_head_bytes:
            self._measure(settings.max_head_bytes)
        self._head_bytes = 0
        head = read_head(
            parser.get_method(),
            self._target,
            self._fields,
            parser.get_http_version(),
            parser.should_keep_alive(),
        )
        self._target = b""
        self._fields = []  # of the trailers: they are bounded by number and thrown away
        if isinstance(head, Refusal):
            self._stop(head)
        if b"upgrade" in head.known and parser.should_upgrade():
            self._raw_left = 0 if head.content_length is None else head.content_length
            if head.chunked:
                self._stop(malformed("The request asks for another protocol and has a chunked body"))
        self._receiving = True
        if self._current is None:
            self._deadline.clear()
            self._begin(head)
        else:
            self._enqueue(head)

    def on_body(self, data: bytes) -> None:
        """Hand a piece of a body to its request."""
        if self._queue:
            self._queued_bytes += len(data)
            if self._queued_bytes > MAX_PIPELINED_BYTES:
                self._overrun()
            self._queue[-1].pieces.append(data)
        elif self._current is not None:
            self._current.body(data)

    def on_message_complete(self) -> None:
        """The request's body is complete."""
        if self._raw_left:
            return  # llhttp thinks that the other protocol begins here
        self._in_head = True
        self._receiving = False
        if self._queue:
            self._queue[-1].done = True
        elif self._current is not None:
            self._deadline.clear()
            self._current.complete()

    # Calls of the request that is being served

    def continue_body(self) -> None:
        """Tell a client that waits for leave to send its body to send it."""
        if self._receiving:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def finish(self, *, keep_alive: bool) -> None:
        """The answer is complete. The next request begins, or the connection ends."""
        self._current = None
        if self._receiving and not self._queue:
            # The request was answered before its body came: no further request can be found behind it.
            self._linger()
        elif not keep_alive or self._refusal is not None:
            self._end()
        elif self._queue:
            self._next()
        elif self._deaf:
            self._end()
        elif self._begun:
            self._head_goes_on(first=True)
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
        return not self._deaf and not self.service.stopping

    def close_idle(self) -> None:
        """End the connection if no request is open."""
        if self.idle:
            self._end()

    # Within

    def _begin(self, head: RequestHead) -> None:
        serving = self.service.begin(self, head)
        if serving is not None:
            self._current = serving
            if self._paused:
                serving.pause()

    def _next(self) -> None:
        waiting = self._queue.popleft()
        self._queued_bytes -= sum(map(len, waiting.pieces))
        self._begin(waiting.head)
        serving = self._current
        for piece in waiting.pieces:
            if serving is None or self._current is not serving:
                return
            serving.body(piece)
        if waiting.done and serving is not None and self._current is serving:
            serving.complete()

    def _rest(self) -> None:
        self.idle = True
        if self.service.stopping:
            self._end()
            return
        now = self.loop_time()
        self._deadline.set(now + self.service.settings.idle_timeout_s, now)

    def _end(self) -> None:
        self._deaf = True
        self._queue.clear()
        self.transport.close()
        self._wait_for_writes()

    def _wait_for_writes(self) -> None:
        """A client that does not read keeps a closing connection for a while, and not for ever."""
        now = self.loop_time()
        self._deadline.set(now + self.service.settings.body_timeout_s, now)

    def _linger(self) -> None:
        self._deaf = True
        self._queue.clear()
        self._paused = False
        if not self.transport.can_write_eof():  # TLS has no half of a connection
            self._end()
            return
        self.transport.write_eof()
        now = self.loop_time()
        self._deadline.set(now + LINGER_S, now)

    def _leave(self) -> None:
        current, self._current = self._current, None
        self._deaf = True
        self._queue.clear()
        if current is not None:
            current.left()

    def _late(self) -> None:
        """The deadline has passed: of a head, a body, an answer that is not read, or a rest."""
        if self._deaf:
            self.transport.abort()
        elif self._paused:
            self._does_not_read()
        elif self._receiving:
            self._too_slow(f"The body of the request paused for {self.service.settings.body_timeout_s:g} seconds")
        elif self._begun and self._current is None:
            self._too_slow(f"The head of the request took over {self.service.settings.head_timeout_s:g} seconds")
        elif self._current is None:
            self._end()

    def _does_not_read(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:  # slow, and not dead
            self._unsent = unsent
            now = self.loop_time()
            self._deadline.set(now + self.service.settings.body_timeout_s, now)
            return
        self._leave()
        self.transport.abort()

    def _too_slow(self, message: str) -> None:
        self._refuse(Refusal(RefusalKind.TOO_SLOW, message))

    def _body_goes_on(self) -> None:
        """A read ended within a body."""
        now = self.loop_time()
        self._deadline.set(now + self.service.settings.body_timeout_s, now)

    def _head_goes_on(self, *, first: bool) -> None:
        """A read ended within a head."""
        if self._head_bytes > self.service.settings.max_head_bytes:
            self._stop_here(self._head_too_large(self.service.settings.max_head_bytes))
        elif first and self._current is None:
            now = self.loop_time()
            self._deadline.set(now + self.service.settings.head_timeout_s, now)

    def _measure(self, limit: int) -> None:
        """Refuse a head over the limit. What came in its reads may hold a body too, so only the head is counted."""
        size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in self._fields)
        if size > limit:
            self._stop(self._head_too_large(limit))

    @staticmethod
    def _head_too_large(limit: int) -> Refusal:
        return Refusal(RefusalKind.HEAD_TOO_LARGE, f"The head of the request is over {limit:,} bytes")

    def _enqueue(self, head: RequestHead) -> None:
        if len(self._queue) >= MAX_PIPELINED:
            self._overrun()
        self._queue.append(_Waiting(head))

    def _overrun(self) -> NoReturn:
        """Too much waits: what is complete is served, then the connection ends, and the client sends the rest again."""
        if self._queue and not self._queue[-1].done:
            self._queue.pop()
        self._receiving = False
        self._deaf = True
        raise _Stop

    def _stop(self, refusal: Refusal) -> NoReturn:
        self._refusal = refusal
        raise _Stop

    def _unreadable(self, error: Exception) -> None:
        """The parser stopped: by a guard of this class, or because what came is no HTTP."""
        if self._deaf:
            return
        refusal, self._refusal = self._refusal, None
        if refusal is None:
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
                raise error.__context__  # a fault of this class, and not of the client
            refusal = malformed(f"The request cannot be read as HTTP/1.1: {error}")
        self._stop_here(refusal)

    def _stop_here(self, refusal: Refusal) -> None:
        if self._current is None or (self._receiving and not self._queue):
            # Nothing is being answered, or the body of what is being received broke: the refusal is the answer.
            self._refuse(refusal)
        else:
            self._deaf = True  # the answers before it come first; then the connection ends

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a request that cannot be read whole, and end the connection."""
        current, self._current = self._current, None
        if current is not None:
            current.left()
        self.write(self.service.refused(refusal))
        self._linger()

    def _upgrade(self, rest: bytes) -> None:
        """An offer to change the protocol is not taken: what follows is the body, and then the next request."""
        assert self._parser is not None
        self._parser = httptools.HttpRequestParser(self)
        if rest := self._raw(rest):
            self.data_received(rest)

    def _raw(self, data: bytes) -> bytes:
        """Take what belongs to a body that the parser does not read, and return the rest."""
        assert self._raw_left is not None
        body, rest = data[: self._raw_left], data[self._raw_left :]
        self._raw_left -= len(body)
        if body:
            self.on_body(body)
        if self._raw_left == 0:
            self._raw_left = None
            if self._receiving:
                self.on_message_complete()
        return rest
