"""The answer to a client: its head in one piece, and the framing of its body."""

from __future__ import annotations

from controlplane.gateway.request import Fields, RequestHead
from controlplane.gateway.seams import Choice, Reservation
from controlplane.gateway.wire.fields import NOT_TO_CLIENT, encoded, passed, status_line
from controlplane.gateway.wire.upstream import AnswerHead

LAST_CHUNK = b"0\r\n\r\n"
SSE = b"text/event-stream"
_SSE_HEAD: Fields = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Framing:
    """The mark of the end of one answer to a client."""

    __slots__ = ("_old", "_sized", "chunked", "keep_alive", "left", "silent")

    def __init__(
        self, head: RequestHead, *, length: int | None, keep_alive: bool, bodiless: bool, status: int = 200
    ) -> None:
        """`length` is None when it is not known. `bodiless`: the answer has no body (HEAD, 204, 304)."""
        self._sized = status != 204  # a 204 may not have a length (RFC 9110, section 8.6)
        self._old = head.minor == 0
        self.silent = bodiless
        self.chunked = not bodiless and length is None and head.minor == 1
        self.left = length
        """Bytes of the body that are still to come, of a body whose length was told."""
        self.keep_alive = keep_alive and (bodiless or self.chunked or length is not None)

    @property
    def by_end(self) -> bool:
        """Whether the end of the connection is the end of the body."""
        return not (self.chunked or self.silent) and self.left is None

    def lines(self) -> bytes:
        """Return the last lines of the head."""
        if self.chunked:
            framing = b"transfer-encoding: chunked\r\n"
        elif self._sized and self.left is not None:
            framing = b"content-length: %d\r\n" % self.left
        else:
            framing = b""
        if not self.keep_alive:
            return framing + b"connection: close\r\n\r\n"
        return framing + (b"connection: keep-alive\r\n\r\n" if self._old else b"\r\n")

    def piece(self, data: bytes) -> bytes:
        """Return a piece of the body as it is written."""
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self.silent:
            return b""
        if self.left is not None:
            self.left -= len(data)
        return data


def answer_head(head: AnswerHead, own: bytes, framing: Framing) -> bytes:
    """Return the head of an engine's answer as the client gets it. `own` are the gateway's lines."""
    if not head.lines:
        head.lines = _passing(head.status, head.fields)
    return head.lines + own + framing.lines()


def _passing(status: int, fields: Fields) -> bytes:
    """Return the first line of an answer, and the engine's fields that pass."""
    connection = content_type = None
    for name, value in fields:
        if name == b"content-type":
            content_type = value
        elif name == b"connection":
            connection = value
    parts = passed(fields, NOT_TO_CLIENT, connection)
    if content_type is not None and content_type.startswith(SSE):
        if not any(name == b"cache-control" for name, _ in fields):
            parts.append(b"cache-control: no-cache\r\n")
        parts.append(b"x-accel-buffering: no\r\n")
    return b"".join((status_line(status), *parts))


def early_head(own: bytes, framing: Framing) -> bytes:
    """Return the head of a stream whose engine has sent none in time."""
    return b"".join((status_line(200), encoded(_SSE_HEAD), b"x-accel-buffering: no\r\n", own, framing.lines()))


def own_answer(status: int, fields: Fields, own: bytes, body: bytes, framing: Framing) -> bytes:
    """Return a whole answer of the gateway's."""
    return b"".join((status_line(status), encoded(fields), own, framing.lines(), framing.piece(body)))


def own_lines(id_line: bytes, reservation: Reservation | None, choice: Choice | None, asked_model: str) -> bytes:
    """Return the header lines that the gateway adds to an answer.

    `choice` is None where no engine answers. `asked_model`: the client's model, when a fallback of it answers.
    """
    lines = id_line
    if reservation is not None:
        lines += reservation.lines()
    if choice is not None:
        lines += b"x-model-version: %b\r\n" % choice.version.encode()
        if choice.degraded_from:
            lines += b"x-degraded-from: %b\r\n" % choice.degraded_from.encode()
        elif asked_model:
            lines += b"x-fallback-from: %b\r\n" % asked_model.encode()
    return lines
