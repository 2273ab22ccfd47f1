"""The answer that the client of one request gets: its head once, then pieces, then an end that says how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from controlplane.gateway.exchange.attempt import Attempt
from controlplane.gateway.exchange.outcomes import of_status
from controlplane.gateway.exchange.writing import LAST_CHUNK, Framing, answer_head, early_head, own_answer
from controlplane.gateway.recording import Recorder, Trace
from controlplane.gateway.request import Fields, Outcome, RequestHead
from controlplane.gateway.wire.client import ClientConnection
from controlplane.gateway.wire.upstream import AnswerHead

COMMENT = b": waiting for the first token\n\n"
"""Sign of life of a stream (SSE). Clients and proxies ignore a line that begins with a colon."""


class End(NamedTuple):
    """The end of an answer."""

    outcome: Outcome
    reason: str
    """Word for records. "" for an answer."""
    message: str = ""
    """Why it broke off; "" when it is whole."""
    told: bool = False
    """Whether the last event that was passed on says it already."""


WHOLE = End(Outcome.OK, "")


class Answer:
    """The answer to one request. The head is written with the first piece, in one write."""

    __slots__ = (
        "_connection", "_gap", "_head", "_last", "_recorder", "events", "framing", "status", "stream", "trace",
    )  # fmt: skip

    def __init__(self, connection: ClientConnection, head: RequestHead, recorder: Recorder) -> None:
        self.framing: Framing | None = None
        """Framing of the body. None until the head is written."""
        self.status = 0
        self.events = 0
        """Events with content that were passed on."""
        self.stream = False
        """Whether the body is a stream of events."""
        self.trace: Trace | None = None
        """Gets what the client gets."""
        self._connection = connection
        self._head = head
        self._recorder = recorder
        self._last = 0.0
        """Time of the last piece."""
        self._gap: Callable[[float], None] | None = None
        """Counts the time between two pieces. None: there was one piece so far."""

    def wait(self, own: bytes) -> None:
        """Write a sign of life, and the head before the first one. `own` are the gateway's lines."""
        if self.framing is None:
            self.stream = True
            framing = self._frame(200, None)
            self._connection.write(early_head(own, framing) + framing.piece(COMMENT))
        else:
            self._connection.write(self.framing.piece(COMMENT))

    def begin(self, attempt: Attempt, head: AnswerHead, own: bytes, data: bytes, done: bool, now: float) -> End | None:
        """Begin with the head of the engine's answer, unless a sign of life was written before, and the first data."""
        self._last = now
        start = b""
        if self.framing is None:
            self.stream = attempt.ask.stream and head.status < 400
            framing = self._frame(head.status, None if self.stream else head.length)
            start = answer_head(head, own, framing)
        return self._pass(attempt, data, done, start)

    def relay(self, attempt: Attempt, data: bytes, done: bool, chunk: bytes, now: float) -> End | None:
        """Pass a piece on. Returns the end of the answer, if it is one. `chunk`: as in `UpstreamConnection.piece`."""
        gap = self._gap
        if gap is None:
            choice = attempt.choice
            gap = self._gap = self._recorder.gaps(choice.model.name, choice.version)
        gap(now - self._last)
        self._last = now
        return self._pass(attempt, data, done, b"", chunk)

    def whole(self, status: int, fields: Fields, own: bytes, body: bytes) -> bool:
        """Write an answer of the gateway's. Returns whether the connection may be used again."""
        framing = self._frame(status, len(body))
        self._connection.write(own_answer(status, fields, own, body, framing))
        return framing.keep_alive

    def break_off(self, event: bytes) -> None:
        """Write the event that tells a stream's client that the rest is missing, and end the connection."""
        framing = self.framing
        assert framing is not None
        if event and self.stream and not framing.silent:
            self._connection.write(framing.piece(event))
        self._connection.abort(reset=framing.by_end)

    def _pass(self, attempt: Attempt, data: bytes, done: bool, start: bytes, chunk: bytes = b"") -> End | None:
        reader, framing = attempt.reader, self.framing
        assert reader is not None
        assert framing is not None
        out = reader.feed(data) if data else b""
        if done:
            out += reader.end()
        if attempt.tap is not None:
            attempt.tap(out)
        if self.trace is not None:
            self.trace.answered(out)
        events = reader.events
        if events != self.events:
            attempt.choice.progress(events - self.events)
            self.events = events
        if done or reader.fault:
            end = self._judge(attempt, framing, out, done)
            last = LAST_CHUNK if framing.chunked and not end.message else b""
            if written := start + framing.piece(out) + last:
                self._connection.write(written)
            return end
        if chunk and out is data and framing.chunked:
            self._connection.write(chunk)
        elif start or out:
            self._connection.write(start + framing.piece(out))
        return None

    def _judge(self, attempt: Attempt, framing: Framing, out: bytes, done: bool) -> End:
        """Return how an answer ends: the engine's body is complete, or an event of its stream is an error."""
        reader = attempt.reader
        assert reader is not None
        if reader.fault and self.status < 400:
            return End(Outcome.ERROR, "stream_error" if self.stream else "body_error", reader.fault, told=True)
        if (self.stream or framing.by_end) and self.status < 400 and not reader.whole and not framing.silent:
            return End(Outcome.CUT, "cut", f"the {attempt.name} ended its answer too early")
        if framing.left is not None and not framing.silent and framing.left != len(out):
            return End(Outcome.CUT, "cut", "the answer has not the length that was told")
        if self.status == 200:
            return WHOLE
        return End(of_status(self.status), "" if self.status < 400 else f"http_{self.status}")

    def _frame(self, status: int, length: int | None) -> Framing:
        self.status = status
        head = self._head
        self.framing = Framing(
            head,
            length=length,
            keep_alive=head.keep_alive and self._connection.keeps(),
            bodiless=head.method == b"HEAD" or status in (204, 304),
            status=status,
        )
        return self.framing
