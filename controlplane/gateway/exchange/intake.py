"""The request's side of an exchange: its head is recognised and authenticated, its body is kept until it is whole.

The body is kept because the model is named in it, and because a failed attempt is sent again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from controlplane.gateway.recording import Trace
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Caller, Operation, RequestHead
from controlplane.gateway.wire.client import ClientConnection

if TYPE_CHECKING:
    from controlplane.gateway.exchange.server import GatewayServer

SKIPPED = 64 * 2**10
"""A refused request's body up to this size is read before the answer, so that the connection can be used again."""
UNKNOWN = Caller(key_id="", tenant="")


class Asker(Protocol):
    """The exchange that a request belongs to."""

    ended: bool

    def local(self, operation: Operation) -> None:
        """The gateway answers by itself."""
        ...

    def asked(self, ask: Ask) -> None:
        """The request is whole and was read."""
        ...

    def refuse(self, refusal: Refusal) -> None:
        """The request is wrong, or there is no place for it."""
        ...


class Intake:
    """One request as it comes in."""

    __slots__ = (
        "_asker",
        "_buffered",
        "_pieces",
        "_refusal",
        "_server",
        "body",
        "caller",
        "head",
        "operation",
        "trace",
    )

    def __init__(self, server: GatewayServer, asker: Asker, head: RequestHead) -> None:
        self.head = head
        self.operation: Operation | None = None
        """None: not recognised."""
        self.caller = UNKNOWN
        self.body = b""
        """The whole body."""
        self.trace: Trace | None = None
        self._server = server
        self._asker = asker
        self._refusal: Refusal | None = None
        """The answer to a request that is wrong already by its head. It waits until a short body was read."""
        self._pieces: list[bytes] = []
        self._buffered = 0
        """Bytes of the body in memory, counted in the server's sum."""

    def begin(self, connection: ClientConnection) -> None:
        """Take the head. Only a body that is too large, or not wanted, is refused here."""
        server, head = self._server, self.head
        now = time.time()
        if server.tracer is not None:
            self.trace = server.tracer.start(head, now)
        operation = server.dialects.recognise(head)
        caller = server.limits.authenticate(head, now)
        if isinstance(operation, Refusal):
            self._refusal = operation
        else:
            self.operation = operation
        if isinstance(caller, Refusal):
            self._refusal = caller  # before the other: a stranger need not learn which paths there are
        else:
            self.caller = caller
        length = head.content_length or 0
        if self._refusal is None and length > server.settings.max_body_bytes:
            self._refusal = self._too_large()
        expects = b"expect" in head.known and head.known[b"expect"].lower() == b"100-continue"
        if self._refusal is not None:
            if length > SKIPPED or expects:
                self._asker.refuse(self._refusal)
        elif expects:
            connection.continue_body()

    def take(self, data: bytes) -> None:
        """Take a piece of the body, within the bounds of one and of all requests."""
        server = self._server
        size = len(data)
        self._buffered += size
        server.buffered += size
        if self._refusal is not None:
            if self._buffered > SKIPPED:
                self._asker.refuse(self._refusal)
        elif self._buffered > server.settings.max_body_bytes:
            self._asker.refuse(self._too_large())
        elif server.buffered > server.settings.max_buffered_bytes:
            message = "The gateway holds as many bytes of requests as it may; send the request again"
            self._asker.refuse(Refusal(RefusalKind.OVERLOADED, message, retry_after_s=1.0))
        else:
            self._pieces.append(data)

    def complete(self) -> None:
        """Take the end of the body, and read what is asked."""
        if self._refusal is not None:
            self._asker.refuse(self._refusal)
            return
        pieces, self._pieces = self._pieces, []
        self.body = body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        operation = self.operation
        assert operation is not None
        if operation.local:
            self._asker.local(operation)
            return
        if self.trace is not None:
            self.trace.asked(body)
        # A scan skips what it does not need: 700 KB take under a millisecond. A thread would hold the interpreter too.
        ask = self._server.dialects.read(operation, self.head, body)
        if isinstance(ask, Refusal):
            self._asker.refuse(ask)
        else:
            self._asker.asked(ask)

    def forget(self) -> None:
        """The body is not needed any more."""
        self._server.buffered -= self._buffered
        self._buffered = 0
        self._pieces = []
        self.body = b""

    def close(self) -> None:
        """The request has ended. Request and exchange hold each other no more, so that neither waits for the garbage
        collector."""
        self.forget()
        del self._asker

    def _too_large(self) -> Refusal:
        limit = self._server.settings.max_body_bytes
        return Refusal(RefusalKind.TOO_LARGE, f"The body of the request is over {limit:,} bytes")
