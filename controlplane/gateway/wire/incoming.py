"""Bytes of a client to heads and pieces of bodies: llhttp, and the guards that it lacks."""

from __future__ import annotations

from typing import NoReturn, Protocol

import httptools

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Fields, HeadFacts, RequestHead
from controlplane.gateway.wire.head import MAX_FIELDS, malformed, read_head, with_fields
from controlplane.gateway.wire.repeated import LENGTH, Outline, outline_of, with_values

MOST_LEARNED = 3
"""Heads that are kept in vain before a connection is taken for one whose heads all differ."""
NOT_AGAIN = frozenset((b"expect", b"transfer-encoding", b"upgrade"))
"""Fields of a head whose message is more than the head and a body of its length."""
VARYING = frozenset((LENGTH, b"traceparent", b"tracestate", b"baggage", b"x-request-id", b"x-correlation-id"))
"""Fields whose values may differ in a head that comes again: no stage keeps a fact of them."""


class Receiver(Protocol):
    """Takes what was parsed."""

    def head(self, head: RequestHead) -> None:
        """A head is complete."""
        ...

    def body(self, data: bytes) -> None:
        """A piece of the body of the last head came."""
        ...

    def complete(self) -> None:
        """The body of the last head is complete. It may have been empty."""
        ...


class _Stop(Exception):
    """Ends the parsing of a connection, from within a callback of the parser."""


class Incoming:
    """The parser of one connection. It holds no body, and of a head no more than the limit and one read."""

    __slots__ = (
        "_fields", "_head", "_head_bytes", "_known", "_learned", "_max_head_bytes", "_outline", "_parser", "_raw_left",
        "_receiver", "_refusal", "_target", "_values", "begun", "closed", "receiving",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, max_head_bytes: int) -> None:
        self.begun = False
        """Whether a part of a head came."""
        self.receiving = False
        """Whether a head was complete and its body is not."""
        self.closed = False
        """Set by the owner: nothing more is parsed."""
        self._receiver = receiver
        self._max_head_bytes = max_head_bytes
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: Fields = []
        self._head_bytes = 0
        """Bytes that came since the last piece of a body: of a head, or of the trailer behind the last chunk."""
        self._raw_left: int | None = None
        """Bytes of a body that the parser does not read, after an offer to change the protocol that is not taken."""
        self._refusal: Refusal | None = None
        self._head: RequestHead | None = None
        """The last head that the parser read."""
        self._known: RequestHead | None = None
        """The last head that came again, or that may."""
        self._outline: Outline | None = None
        self._values: list[bytes] = []
        """Values of `_known` that may differ. Empty: not known yet."""
        self._learned = -1
        """Heads that were kept since one came again. -1: not even one request came."""

    def again(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return the head and the body of a read that is a known head and its whole body. None: `feed` parses it."""
        outline = self._outline
        if outline is None or self.begun or self.receiving or (found := outline.match(data)) is None:
            return None
        values, body = found
        self._learned = 0
        head = self._known
        assert head is not None
        if values != self._values:
            self._values = values
            self._known = head = with_fields(head, with_values(head.fields, outline, values), len(body))
        return head, body

    def feed(self, data: bytes) -> Refusal | None:
        """Parse what one read brought. Returns a refusal when it is no proper request; nothing is parsed after it."""
        if self._raw_left is not None and not (data := self._raw(data)):
            return None
        self._head_bytes += len(data)
        parser = self._parser
        if parser is None:
            return None
        between = not (self.begun or self.receiving)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = httptools.HttpRequestParser(self)
            return self.feed(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            return self._unreadable(error)
        if self._head_bytes > self._max_head_bytes and (self.begun or self.receiving):
            return self._head_too_large()
        if between and self._learned < MOST_LEARNED and not (self.begun or self.receiving):
            self._learn(data)
        return None

    def close(self) -> None:
        """Parse nothing more."""
        self.closed = True
        self._parser = self._outline = self._known = self._head = None

    def lost(self) -> None:
        """The connection has ended. Nothing here holds it any more, so that nothing waits for the garbage collector."""
        self.close()
        del self._receiver

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """The first byte of a head came."""
        if self.closed:
            raise _Stop
        self.begun = True

    def on_url(self, part: bytes) -> None:
        """Keep a part of the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field, or count one of a trailer, which is thrown away with the next head."""
        fields = self._fields
        fields.append((name.lower(), value))
        if len(fields) > MAX_FIELDS:
            self._stop(Refusal(RefusalKind.HEAD_TOO_LARGE, f"The request has more than {MAX_FIELDS} header fields"))

    def on_headers_complete(self) -> None:
        """Guard the head."""
        parser, target, fields = self._parser, self._target, self._fields
        assert parser is not None
        if self._head_bytes > self._max_head_bytes:
            # The reads of the head may have brought a body too, so now the head alone is counted.
            size = len(target) + sum(len(name) + len(value) + 4 for name, value in fields)
            if size > self._max_head_bytes:
                self._stop(self._head_too_large())
        self.begun = False
        self._head_bytes = 0
        self._target, self._fields = b"", []
        version = parser.get_http_version()
        head = read_head(parser.get_method(), target, fields, version, parser.should_keep_alive())
        if isinstance(head, Refusal):
            self._stop(head)
        if b"upgrade" in head.known and parser.should_upgrade():
            if head.chunked:
                self._stop(malformed("The request asks for another protocol and has a chunked body"))
            self._raw_left = head.content_length or 0
        self.receiving = True
        self._head = head
        self._receiver.head(head)

    def on_body(self, data: bytes) -> None:
        """Hand a piece of a body on."""
        self._head_bytes = 0
        self._receiver.body(data)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._raw_left:
            return  # llhttp thinks that the other protocol begins here
        self._raw_left = None
        self._head_bytes = 0
        self.receiving = False
        self._fields = []  # of a trailer
        self._receiver.complete()

    # Within

    def _learn(self, data: bytes) -> None:
        """Keep a head that a whole read brought with its body, from the second request of the connection on."""
        self._learned += 1
        head = self._head
        if head is None or self._learned == 0:
            return
        self._outline = None
        if head.keep_alive and head.minor and head.known.keys().isdisjoint(NOT_AGAIN):
            self._outline = outline_of(data, head.fields, VARYING)
        if self._outline is not None:
            self._known, self._values = head, []
            head.facts = HeadFacts()

    def _raw(self, data: bytes) -> bytes:
        """Take what belongs to a body that the parser does not read, and return the rest."""
        assert self._raw_left is not None
        body, rest = data[: self._raw_left], data[self._raw_left :]
        self._raw_left -= len(body)
        if body:
            self._receiver.body(body)
        if self._raw_left == 0:
            self.on_message_complete()
        return rest

    def _unreadable(self, error: Exception) -> Refusal | None:
        """Return why the parser stopped: a guard of this class, or what came is no HTTP."""
        self._parser = None
        if self.closed:
            return None
        if (refusal := self._refusal) is not None:
            return refusal
        if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
            raise error.__context__  # a fault of the gateway, and not of the client
        return malformed(f"The request cannot be read as HTTP/1.1: {error}")

    def _stop(self, refusal: Refusal) -> NoReturn:
        self._refusal = refusal
        raise _Stop

    def _head_too_large(self) -> Refusal:
        return Refusal(RefusalKind.HEAD_TOO_LARGE, f"The head of the request is over {self._max_head_bytes:,} bytes")
