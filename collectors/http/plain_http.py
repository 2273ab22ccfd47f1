"""One plain HTTP/1.1 connection to a target, kept open between scrapes.

With 300 targets every few seconds this is most of the work, so it is only a protocol over httptools' parser. An
exchange takes 31 µs of CPU. aiohttp, which reads the targets behind TLS (fetch.py), takes 74 µs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohappyeyeballs
import httptools

from collectors.errors import ExpositionError, ScrapeError, Unreachable
from collectors.http.answer import Answer, Progress

MAX_HEAD_BYTES = 64 * 1024
"""Maximum size of an answer's status line and headers. The parser itself has no limit."""
_NEXT_ADDRESS_S = 0.25
"""Seconds until the host's next address is tried in parallel (RFC 8305)."""

Resolve = Callable[[str, int], Awaitable[list[Any]]]
"""Returns getaddrinfo's entries for a host and port. Raises OSError when the name cannot be resolved."""


class PlainConnection(asyncio.Protocol):
    """A connection with one request at a time. After a ScrapeError or an OSError it cannot be used again."""

    def __init__(self, max_body_bytes: int, progress: Progress) -> None:
        self._max_body_bytes, self._progress = max_body_bytes, progress
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser
        self._done: asyncio.Future[bytes] | None = None
        self._headers: dict[str, str] = {}
        self._until_close = self._complete = self._kept_alive = False
        self._head_bytes = 0
        self.received = 0
        """Bytes of the current answer, including its head."""
        self.last_used = 0.0
        """Time of the event loop at which the last answer was complete."""

    @classmethod
    async def open(
        cls, host: str, port: int, resolve: Resolve, max_body_bytes: int, progress: Progress
    ) -> PlainConnection:
        """Connect. Raises OSError (such as socket.gaierror), and UnicodeError for a text that cannot be a host name."""
        loop = asyncio.get_running_loop()
        literal = _is_literal(host)  # needs no name resolution, so getaddrinfo cannot block
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if literal else await resolve(host, port)
        connected = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=loop)
        _, connection = await loop.create_connection(lambda: cls(max_body_bytes, progress), sock=connected)
        return connection

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> bytes:
        """Send a whole request and return the inflated body of its answer. Raises ScrapeError and OSError."""
        assert self._transport is not None and self.usable, "the caller must check `usable` first"
        loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._head_bytes, self.received = {}, 0, 0
        self._until_close = self._complete = self._kept_alive = False
        self._progress.connected, self._progress.answer = True, None
        self._done = loop.create_future()
        self._transport.write(request)
        whole = False
        try:
            body = await self._done
            whole = True
        finally:
            # After an early end, the rest of this answer must not be read as the next answer.
            if not whole or not self._kept_alive:
                self.abort()
        self.last_used = loop.time()
        return body

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport:
            self._transport.abort()

    # -- called by the event loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Parse received bytes. Bytes without a request close the connection."""
        if self._done is None or self._done.done():
            self.abort()
            return
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(_no_http())
        if self._progress.answer is None and self.received > MAX_HEAD_BYTES:
            self._fail(_no_http())

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer. A body without a length is complete now; any other body was cut off."""
        self._transport = None
        answer = self._progress.answer
        if self._done is None or self._done.done():
            return
        if answer is None:
            self._fail(exc if isinstance(exc, OSError) else Unreachable("connection closed before an answer"))
        elif exc is not None or not self._until_close:
            self._fail(Unreachable("connection closed in the middle of the body"))
        else:
            self._finish(answer)

    # -- called by the parser ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Close the connection when a second answer begins."""
        if self._complete:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header. The first of repeated headers counts; headers after a chunked body are ignored."""
        if self._progress.answer is None:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise _no_http()
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Begin the body, or skip an interim answer (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if self._complete:
            return
        if 100 <= status < 200 and status != 101:
            self._headers = {}
            return
        self._until_close = "content-length" not in self._headers and "transfer-encoding" not in self._headers
        self._progress.answer = Answer(status, self._headers, self._max_body_bytes)

    def on_body(self, body: bytes) -> None:
        """Append a piece of the body."""
        if self._progress.answer and not self._complete:
            self._progress.answer.feed(body)

    def on_message_complete(self) -> None:
        """Complete the answer."""
        if self._progress.answer and not self._complete:
            self._complete = True
            self._kept_alive = self._parser.should_keep_alive()  # only valid now: the parser forgets it later
            self._finish(self._progress.answer)

    def _finish(self, answer: Answer) -> None:
        try:
            body = answer.finish()
        except ScrapeError as error:
            self._fail(error)
            return
        if self._done and not self._done.done():
            self._done.set_result(body)

    def _fail(self, error: BaseException) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(error)
        else:
            self.abort()


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _no_http() -> ExpositionError:
    return ExpositionError("the answer is not HTTP", 0)
