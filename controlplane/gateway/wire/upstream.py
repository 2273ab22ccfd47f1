"""The engine's side of a connection: a request's bytes out, an answer's head and pieces back.

Pieces are what one read brought, without the engine's chunk marks: one call a read, however many chunks it held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from controlplane.gateway.request import Fields
from controlplane.gateway.wire.head import MAX_FIELDS
from controlplane.gateway.wire.repeated import LENGTH, Outline, outline_of, with_values
from controlplane.gateway.wire.timer import Deadline, TimerWheel

MAX_ANSWER_HEAD = 64 * 2**10
"""Most bytes of the head of an engine's answer."""
VARYING = frozenset((LENGTH, b"x-request-id"))
"""Fields of an answer whose values may differ in a head that comes again. No client gets them as they are."""
MOST_VAIN = 3
"""Heads of an engine that are kept in vain before it is taken for one whose heads all differ."""
SELDOM = 64
"""One of so many answers of such an engine is kept."""
LONGEST_SIZE = 8
"""Bytes of a chunk's line within which its end is looked for: six hexadecimal digits are more than any read brings."""


@dataclass(slots=True)
class AnswerHead:
    """The head of an engine's answer. Names of fields are lower case."""

    status: int
    fields: Fields
    length: int | None
    """Content-Length. None: the answer is chunked, or ends with the connection."""
    delimited: bool
    """Whether the end of the body is marked: by its length or a last chunk, and not by the end of the connection."""
    keep_alive: bool
    lines: bytes = b""
    """Status and fields as a client gets them, once they were encoded."""


class KnownAnswers:
    """The head of an engine's last answer. The next ones repeat it, but for their length and a date each second."""

    __slots__ = ("_head", "_outline", "_vain", "_values")

    def __init__(self) -> None:
        self._outline: Outline | None = None
        self._head: AnswerHead | None = None
        self._values: list[bytes] = []
        """Values of `_head` that may differ. Empty: not known yet."""
        self._vain = 0
        """Heads that were learned since one came again."""

    def again(self, data: bytes) -> tuple[AnswerHead, bytes] | None:
        """Return the head and the body of a read that is the known head and its whole body. None: it is parsed."""
        outline = self._outline
        if outline is None or (found := outline.match(data)) is None:
            return None
        values, body = found
        self._vain = 0
        head = self._head
        assert head is not None
        if values != self._values:
            self._values = values
            fields = with_values(head.fields, outline, values)
            self._head = head = AnswerHead(head.status, fields, len(body), True, True, head.lines)
        return head, body

    def learn(self, data: bytes, head: AnswerHead) -> None:
        """Keep the head of a read that is a whole answer. An engine whose heads all differ is seldom learned from."""
        self._vain += 1
        if self._vain <= MOST_VAIN or self._vain % SELDOM == 0:
            self._outline = outline_of(data, head.fields, VARYING) if head.keep_alive else None
            self._head, self._values = head, []


class Taking(Protocol):
    """The owner of a connection: one attempt at a request."""

    def answer(self, head: AnswerHead) -> None:
        """Take the head of the answer."""
        ...

    def piece(self, data: bytes, done: bool, chunk: bytes = b"") -> None:
        """Take what one read brought of the body. `done`: the body is complete, and the connection is given back.

        `chunk` is the read itself, if it was `data` in one chunk: a client that gets chunks may get the same bytes.
        """
        ...

    def lost(self, connection: UpstreamConnection, why: str) -> None:
        """The connection broke before the answer was complete, or what came is no HTTP. It is closed already."""
        ...

    def late(self) -> None:
        """The deadline of the connection has passed."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to an engine, of one pool."""

    __slots__ = (
        "_between_chunks",
        "_complete",
        "_fields",
        "_head",
        "_headless",
        "_interim",
        "_known",
        "_parser",
        "_pieces",
        "_released",
        "_size",
        "deadline",
        "idle_since",
        "owner",
        "received",
        "reused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(
        self, wheel: TimerWheel, released: Callable[[UpstreamConnection, bool], None], known: KnownAnswers
    ) -> None:
        """`released(connection, reusable)` is called when an answer is complete, or when an idle connection ended.

        `known` is that of all connections to the engine.
        """
        self.owner: Taking | None = None
        self.reused = False
        """Whether it carried an answer before."""
        self.received = False
        """Whether a byte of the present answer came."""
        self.idle_since = 0.0
        self.deadline = Deadline(wheel, self._late)
        self._released = released
        self._known = known
        self._parser: httptools.HttpResponseParser | None = None
        self._head: AnswerHead | None = None
        self._fields: Fields = []
        self._size = 0
        """Bytes that came since the last piece of a body: of the head, or of the trailer behind the last chunk."""
        self._headless = False
        """Whether the answer has no body whatever its head says: the request was a HEAD."""
        self._interim = False
        """Whether an answer of 1xx is being read, which comes before the real one."""
        self._pieces: list[bytes] = []
        self._complete = True
        self._between_chunks = False
        """Whether the parser has read a whole chunk, or only the beginning of the next one's line."""

    # Calls of the owner

    def send(self, owner: Taking, request: bytes, *, headless: bool) -> None:
        """Send a whole request. `headless`: it is a HEAD request."""
        self.owner = owner
        self.received = self._complete = False
        self._head = None
        self._size = 0
        self._headless = headless
        self.transport.write(request)

    def drop(self) -> None:
        """Close at once, with whatever is under way. The engine sees it, and stops generating."""
        self.owner = None
        self.deadline.close()
        self.transport.abort()

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and hand it to the owner in one call."""
        owner = self.owner
        if owner is None:  # bytes that nobody asked for, or a 408 before the engine closes an idle connection
            self._ended()
            self.transport.abort()
            return
        if self._between_chunks and (content := only_chunk(data)):
            # The parser would find nothing else, at five times the cost. It goes on behind this chunk.
            owner.piece(content, False, data)
            return
        first, self.received = not self.received, True
        if first and not self._headless and (again := self._known.again(data)) is not None:
            self._head, content = again
            self._complete = True
            owner.answer(self._head)
            if self.owner is owner:
                self._finish(owner, content)
            return
        waiting_for_head = self._head is None
        assert self._parser is not None
        fault = ""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            fault = _reason(error)
        if self._between_chunks:
            # Behind a chunk, a read that ends with a line's end has no part of the next chunk's line.
            self._between_chunks = data.endswith(b"\r\n") and not self._complete
        if self._pieces:
            self._size = 0
        else:
            self._size += len(data)
            if self._size > MAX_ANSWER_HEAD and not self._complete:
                fault = f"the head or the trailer of its answer is over {MAX_ANSWER_HEAD:,} bytes"
        if waiting_for_head and self._head is not None:
            if first and self._complete and not fault:
                self._known.learn(data, self._head)
            owner.answer(self._head)
            if self.owner is not owner:
                return
        self._deliver(owner, fault)

    def eof_received(self) -> bool:
        """Close: an engine that has ended its half answers no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, unless the end of the connection is the end of the answer."""
        self._parser = None
        owner = self.owner
        if owner is None:
            self._ended()
            return
        head = self._head
        if head is not None and not head.delimited and not self._complete and exc is None:
            self._complete = True
            self._finish(owner, b"")
            return
        self.owner = None
        self.deadline.close()
        owner.lost(self, "the connection was closed" if exc is None else f"the connection broke: {exc}")

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """An answer begins: the only one."""
        if self._complete:
            raise _Excess
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field."""
        fields = self._fields
        fields.append((name.lower(), value))
        if len(fields) > MAX_FIELDS:
            raise _Excess

    def on_headers_complete(self) -> None:
        """Read how the answer's end is marked."""
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200:
            self._interim = True
            return
        fields, self._fields = self._fields, []
        length = None
        delimited = self._headless or status in (204, 304)
        for name, value in fields:
            if name == b"content-length":
                length = int(value)
                delimited = True
            elif name == b"transfer-encoding":
                delimited = True
        self._head = AnswerHead(status, fields, length, delimited, parser.should_keep_alive())
        if self._headless:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece until the whole read is parsed. Bytes behind an answer of 1xx are no part of the real one."""
        if self._interim:
            raise _Excess
        self._pieces.append(data)

    def on_chunk_header(self) -> None:
        """The line of a chunk is complete: its content follows, or the trailer."""
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        """A chunk is complete."""
        self._between_chunks = True

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._interim:
            self._interim = False
            return
        self._complete = True

    # Within

    def _deliver(self, owner: Taking, fault: str) -> None:
        """Hand what one read brought to the owner: body first, then the end or the break."""
        pieces = self._pieces
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
        else:
            data = b""
        if self._complete:
            self._finish(owner, data, sound=not fault)
            return
        if data:
            owner.piece(data, False)
        if fault and self.owner is owner:
            self.drop()
            owner.lost(self, fault)

    def _finish(self, owner: Taking, data: bytes, *, sound: bool = True) -> None:
        head = self._head
        assert head is not None
        self.owner = None
        self.deadline.clear()
        reusable = (
            sound
            and head.keep_alive
            and head.delimited
            and not self._headless
            # An answer that came before its request was sent whole: the rest would be read as the next request.
            and self.transport.get_write_buffer_size() == 0
            and not self.transport.is_closing()
        )
        if not reusable:
            self.deadline.close()
            self.transport.abort()
        self._released(self, reusable)
        owner.piece(data, True)

    def _ended(self) -> None:
        self.deadline.close()
        self._released(self, False)

    def _late(self) -> None:
        if self.owner is not None:
            self.owner.late()


class _Excess(Exception):
    """More came than one answer, or more fields than any answer has."""


def only_chunk(data: bytes) -> bytes:
    """Return the content of a read that is one whole chunk as engines write it, or b"" for any other read.

    `b"5\\r\\nhello\\r\\n"` → `b"hello"`. A size in capital letters, with leading zeros or with an extension is another.
    """
    start = data.find(b"\r\n", 0, LONGEST_SIZE) + 2
    size = len(data) - start - 2
    if size > 0 and data[:start] == b"%x\r\n" % size and data.endswith(b"\r\n"):
        return data[start:-2]
    return b""


def _reason(error: Exception) -> str:
    if isinstance(error.__context__, _Excess):
        return "more came than one answer"
    if isinstance(error, httptools.HttpParserUpgrade):
        return "it changed to another protocol"
    return f"its answer is no proper HTTP: {error}"
