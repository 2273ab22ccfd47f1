"""The life of one request: a state machine whose steps are calls of its client, of the queue, and of its attempts.

begin       recognise the operation, authenticate the caller
body        keep the body until it is whole: the model is in it, and a failed attempt is sent again
asked       read what is asked, find the model, reserve on its limits
choose      a backend now, or a place in the queue
attempt     send; a failed one is followed by another, where the engine has surely not begun
good        the first event came: from here on bytes are passed on, and nothing is tried again
end         settle, release, record: exactly once, on every path
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.estimate import tokens_of
from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.attempt import Attempt, Failed
from controlplane.gateway.exchange.outcomes import of_refusal, of_status
from controlplane.gateway.exchange.writing import LAST_CHUNK, Framing, answer_head, early_head, own_answer
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Caller, Frames, Operation, Outcome, RequestHead, TokenCounts
from controlplane.gateway.seams import Choice, Reservation, Trace, UsageRecord, Waiting
from controlplane.gateway.wire.client import ClientConnection
from controlplane.gateway.wire.fields import encoded
from controlplane.gateway.wire.upstream import AnswerHead

if TYPE_CHECKING:
    from controlplane.gateway.exchange.server import GatewayServer

IN_A_THREAD = 256 * 2**10
"""Bodies over this size are read in a thread: 700 KB of JSON take 4 ms, in which no stream would move."""
SKIPPED = 64 * 2**10
"""A refused request's body up to this size is read before the answer, so that the connection can be used again."""
COMMENT = b": waiting for the first token\n\n"
"""Sign of life of a stream (SSE). Clients and proxies ignore a line that begins with a colon."""
UNKNOWN = Caller(key_id="", tenant="")
EMPTY = TokenCounts()
CLIENT_LEFT = 499
"""Status in the record of a request whose client left before its answer began, as nginx writes it."""
UNTOUCHED = (Outcome.REJECTED, Outcome.INVALID)
"""Outcomes of requests on which no engine worked: nothing is charged."""


class Exchange:
    """One request. All calls are made on the event loop."""

    __slots__ = (
        "_answered",
        "_ask",
        "_asked_model",
        "_attempt",
        "_attempts",
        "_body",
        "_buffered",
        "_caller",
        "_connection",
        "_events",
        "_fallbacks",
        "_first_s",
        "_framing",
        "_head",
        "_last",
        "_model",
        "_opened",
        "_operation",
        "_paused",
        "_pieces",
        "_queue_s",
        "_refusal",
        "_reservation",
        "_server",
        "_started",
        "_status",
        "_trace",
        "_waiting",
        "ended",
        "request_id",
    )

    def __init__(self, server: GatewayServer, connection: ClientConnection, head: RequestHead, request_id: str) -> None:
        self.request_id = request_id
        self._server = server
        self._connection = connection
        self._head = head
        self._started = self._last = server.wheel.now()
        self._operation: Operation | None = None
        self._caller = UNKNOWN
        self._refusal: Refusal | None = None
        self._pieces: list[bytes] = []
        self._buffered = 0
        """Bytes of the body in memory, counted in the server's sum."""
        self._body = b""
        self._ask: Ask | None = None
        self._asked_model = ""
        """The client's model, when a fallback of it is asked."""
        self._model: ModelSpec | None = None
        self._reservation: Reservation | None = None
        self._fallbacks: Iterator[str] = iter(())
        self._waiting: Waiting | None = None
        self._attempt: Attempt | None = None
        self._attempts = 0
        self._opened = False
        """Whether the last attempt was counted as open."""
        self._queue_s = 0.0
        self._framing: Framing | None = None
        """Set once the head of the answer is written."""
        self._answered = False
        """Whether a piece of an engine's answer was passed on."""
        self._status = 0
        self._events = 0
        self._first_s: float | None = None
        self._paused = False
        self.ended = False
        self._trace: Trace | None = None

    # The request comes in

    def begin(self) -> None:
        """Take the head. Only the body's size may end the request here."""
        server, head = self._server, self._head
        now = time.time()
        operation = server.dialects.recognise(head)
        caller = server.limits.authenticate(head, now)
        if not isinstance(operation, Refusal):
            self._operation = operation
        if isinstance(caller, Refusal):
            self._refusal = caller
        else:
            self._caller = caller
            if isinstance(operation, Refusal):
                self._refusal = operation
        length = head.content_length or 0
        if self._refusal is None and length > server.settings.max_body_bytes:
            self._refusal = self._too_large()
        expects = head.known.get(b"expect", b"").lower() == b"100-continue"
        if self._refusal is not None:
            if length > SKIPPED or expects:
                self._refuse(self._refusal)
        elif expects:
            self._connection.continue_body()
        if server.tracer is not None:
            self._trace = server.tracer.start(head, now)

    def body(self, data: bytes) -> None:
        """Take a piece of the body, within the bounds of one and of all requests."""
        if self.ended:
            return
        server = self._server
        size = len(data)
        self._buffered += size
        server.buffered += size
        if self._refusal is not None:
            if self._buffered > SKIPPED:
                self._refuse(self._refusal)
        elif self._buffered > server.settings.max_body_bytes:
            self._refuse(self._too_large())
        elif server.buffered > server.settings.max_buffered_bytes:
            message = "The gateway holds as many bytes of requests as it may; send the request again"
            self._refuse(Refusal(RefusalKind.OVERLOADED, message, retry_after_s=1.0))
        else:
            self._pieces.append(data)

    def complete(self) -> None:
        """Take the end of the body."""
        if not self.ended:
            self._guarded("reading a request", self._complete)

    def _complete(self) -> None:
        if self._refusal is not None:
            self._refuse(self._refusal)
            return
        pieces, self._pieces = self._pieces, []
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        operation = cast(Operation, self._operation)
        if operation.local:
            self._list_models(operation)
            return
        self._body = body
        if self._trace is not None:
            self._trace.asked(body)
        read = self._server.dialects.read
        if len(body) <= IN_A_THREAD:
            self._asked(read(operation, self._head, body))
            return
        reading = asyncio.get_running_loop().run_in_executor(None, read, operation, self._head, body)
        reading.add_done_callback(self._read_elsewhere)

    def _read_elsewhere(self, reading: asyncio.Future[Ask | Refusal]) -> None:
        if self.ended:
            reading.exception()  # seen: nobody waits for it
            return
        self._guarded("reading a large request", lambda: self._asked(reading.result()))

    def _list_models(self, operation: Operation) -> None:
        names = self._server.names(self._caller)
        body = self._server.dialects.models(operation, self._head.path, names, self._server.created)
        if isinstance(body, Refusal):
            self._refuse(body)
            return
        self.ended = True
        self._settle_body()
        self._answer(200, [(b"content-type", b"application/json")], body)
        self._server.ended(self)

    # What it asks, and of whom

    def _asked(self, ask: Ask | Refusal) -> None:
        if isinstance(ask, Refusal):
            self._refuse(ask)
            return
        self._ask = ask
        model = self._server.chooser.model(ask, self._caller)
        if isinstance(model, Refusal):
            self._refuse(model)
            return
        self._fallbacks = iter(model.fallbacks)
        if (refusal := self._reserve(ask, model)) is not None:
            self._refuse(refusal)
            return
        self._choose(ask, model)

    def _reserve(self, ask: Ask, model: ModelSpec) -> Refusal | None:
        self._model = model
        prompt, answer = tokens_of(ask)
        now = self._server.wheel.now()
        reservation = self._server.limits.reserve(self._caller, model, prompt, answer, now)
        if isinstance(reservation, Refusal):
            return reservation
        self._reservation = reservation
        return None

    def _choose(self, ask: Ask, model: ModelSpec) -> None:
        self._last = now = self._server.wheel.now()
        chosen = self._server.chooser.choose(ask, self._caller, model, now, self._granted)
        if isinstance(chosen, Refusal) or hasattr(chosen, "backend"):
            self._chosen(cast("Choice | Refusal", chosen))
        else:
            self._waiting = chosen

    def _granted(self, chosen: Choice | Refusal) -> None:
        now = self._server.wheel.now()
        self._waiting = None
        self._queue_s += now - self._last
        if self.ended:
            if not isinstance(chosen, Refusal):
                chosen.release(Outcome.ABORTED, now)
            return
        self._guarded("giving a request to a backend", lambda: self._chosen(chosen))

    def _chosen(self, chosen: Choice | Refusal) -> None:
        if not isinstance(chosen, Refusal):
            self._send(chosen)
        elif chosen.kind is not RefusalKind.NO_CAPACITY or not self._fall_back():
            self._refuse(chosen)

    def _fall_back(self) -> bool:
        """Ask the next model that may answer instead. Returns False when there is none."""
        ask = cast(Ask, self._ask)
        chooser = self._server.chooser
        for name in self._fallbacks:
            other = replace(ask, model=name)
            model = chooser.model(other, self._caller)
            if isinstance(model, Refusal):
                continue
            reservation, self._reservation = self._reservation, None
            if reservation is not None:
                reservation.cancel(self._server.wheel.now())
            if self._reserve(other, model) is not None:
                continue
            self._asked_model = self._asked_model or ask.model
            self._ask = other
            self._choose(other, model)
            return True
        return False

    # Attempts

    def _send(self, choice: Choice) -> None:
        server, head, ask = self._server, self._head, cast(Ask, self._ask)
        attempt = Attempt(self, choice, ask, server.dialects, server.wheel, choice.model.timeouts)
        self._attempt = attempt
        self._attempts += 1
        backend = choice.backend
        route = server.routes.of(backend)
        target, body = server.dialects.outgoing(ask, head, self._body, backend)
        own = b"x-request-id: %b\r\n%b" % (self.request_id.encode(), self._connection.forwarded)
        traced = b"" if self._trace is None else self._trace.header
        request = route.request(ask, head, target, len(body), own, traced, server.wheel.now())
        if request is None:
            message = f"The gateway cannot read its credentials for the engine {backend.url}"
            refusal = Refusal(RefusalKind.UPSTREAM_FAILED, message)
            self.failed(attempt, Failed(refusal, "credentials", Outcome.ERROR, safe=True))
            return
        server.recorder.began(choice.model.name, choice.version, backend.url)
        self._opened = True
        sse = ask.stream and ask.operation.frames is Frames.SSE
        quiet_s = server.settings.keep_alive_event_s if sse else float("inf")
        attempt.start(route, request, body, quiet_s=quiet_s, headless=head.method == b"HEAD")
        if self._paused:
            attempt.pause()

    def failed(self, attempt: Attempt, failure: Failed) -> None:
        """Try again, fall back, or refuse."""
        self._guarded("trying a request again", lambda: self._failed(attempt, failure))

    def _failed(self, attempt: Attempt, failure: Failed) -> None:
        server = self._server
        now = server.wheel.now()
        choice = attempt.choice
        attempt.end(failure.outcome, now)
        if failure.safe:
            if self._attempts <= choice.model.retries:
                other = server.chooser.again(cast(Ask, self._ask), choice, now)
                if not isinstance(other, Refusal):
                    self._another(attempt, failure)
                    self._send(other)
                    return
            if self._framing is None and self._fall_back():
                self._another(attempt, failure)
                return
        if failure.head is not None and self._framing is None:
            self.good(attempt, failure.head, failure.body, True)
        else:
            self._refuse(failure.refusal, failure.outcome, failure.why)

    def _another(self, attempt: Attempt, failure: Failed) -> None:
        if self._opened:
            self._opened = False
            choice = attempt.choice
            self._server.recorder.retried(choice.model.name, choice.version, choice.backend.url, failure.why)

    # The answer goes out

    def waits(self, attempt: Attempt) -> None:
        """Send a sign of life in place of the first event, which is still awaited."""
        if self._framing is None:
            self._framing = self._frame(length=None, status=200)
            self._status = 200
            head = early_head(self._own_lines(attempt.choice), self._framing)
            self._connection.write(head + self._framing.piece(COMMENT))
        else:
            self._connection.write(self._framing.piece(COMMENT))

    def good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        """Begin the answer to the client."""
        self._guarded("beginning an answer", lambda: self._good(attempt, head, data, done))

    def _good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        now = self._server.wheel.now()
        self._first_s = now - self._started
        self._last = now
        self._settle_body()
        if head.status == 401 or head.status == 407:
            message = f"The engine {attempt.choice.backend.url} refuses the gateway's credentials"
            attempt.end(Outcome.ERROR, now)
            self._refuse(Refusal(RefusalKind.UPSTREAM_FAILED, message), Outcome.ERROR, f"http_{head.status}")
            return
        if self._framing is not None and head.status >= 400:
            message = f"The engine {attempt.choice.backend.url} answered {head.status}"
            attempt.end(of_status(head.status), now)
            self._refuse(Refusal(RefusalKind.UPSTREAM_FAILED, message), Outcome.ERROR, f"http_{head.status}")
            return
        attempt.choice.first_byte(now)
        start = b""
        if self._framing is None:
            self._status = head.status
            stream = cast(Ask, self._ask).stream and head.status < 400
            self._framing = self._frame(length=None if stream else head.length, status=head.status)
            start = answer_head(head.status, head.fields, self._own_lines(attempt.choice), self._framing)
        self._answered = True
        self._pass(attempt, data, done, start)

    def relay(self, attempt: Attempt, data: bytes, done: bool) -> None:
        """Pass a further piece on."""
        try:
            now = self._server.wheel.now()
            choice = attempt.choice
            self._server.recorder.gap(choice.model.name, choice.version, now - self._last)
            self._last = now
            self._pass(attempt, data, done, b"")
        except Exception as error:  # the boundary of one request: its fault must not end the others
            self._fault("passing an answer on", error)

    def _pass(self, attempt: Attempt, data: bytes, done: bool, start: bytes) -> None:
        """Pass a piece on. `start` is the head, if it was not written before: one write for all."""
        reader = attempt.reader
        assert reader is not None
        out = reader.feed(data) if data else b""
        if done:
            out += reader.end()
        if self._trace is not None:
            self._trace.answered(out)
        events = reader.events
        if events != self._events:
            attempt.choice.progress(events - self._events)
            self._events = events
        framing = cast(Framing, self._framing)
        stream = cast(Ask, self._ask).stream and self._status < 400
        if stream and reader.fault:
            self._connection.write(start + framing.piece(out))
            self._cut(attempt, reader.fault, Outcome.ERROR, "stream_error")
        elif not done:
            if out or start:
                self._connection.write(start + framing.piece(out))
        elif (stream or framing.by_end) and self._status < 400 and not reader.whole:
            self._connection.write(start + framing.piece(out))
            message = f"the engine {attempt.choice.backend.url} ended its answer too early"
            self._cut(attempt, message, Outcome.CUT, "cut")
        elif framing.left is not None and not framing.silent and framing.left != len(out):
            self._connection.write(start + framing.piece(out))
            self._cut(attempt, "the answer has not the length that was told", Outcome.CUT, "cut")
        else:
            last = framing.piece(out)
            self._connection.write(start + last + LAST_CHUNK if framing.chunked else start + last)
            self._finish(attempt, of_status(self._status))

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        reason = "" if self._status < 400 else f"http_{self._status}"
        keep_alive = cast(Framing, self._framing).keep_alive
        self._end(outcome, self._status, reason)
        self._connection.finish(keep_alive=keep_alive)

    def broke(self, attempt: Attempt, why: str, outcome: Outcome) -> None:
        """End the answer so that it does not look finished."""
        self._guarded("ending a broken answer", lambda: self._cut(attempt, why, outcome, "cut"))

    def _cut(self, attempt: Attempt | None, message: str, outcome: Outcome, reason: str) -> None:
        """End an answer whose head is written so that it does not look finished."""
        framing, operation = cast(Framing, self._framing), cast(Operation, self._operation)
        if self._ask is not None and self._ask.stream:
            event = self._server.dialects.broken(operation, message, self.request_id)
            if event:
                self._connection.write(framing.piece(event))
        self._end(outcome, self._status, reason)
        self._connection.abort(reset=framing.by_end)

    def _frame(self, *, length: int | None, status: int) -> Framing:
        head = self._head
        return Framing(
            head,
            length=length,
            keep_alive=head.keep_alive and self._connection.keeps(),
            bodiless=head.method == b"HEAD" or status in (204, 304),
        )

    def _own_lines(self, choice: Choice | None) -> bytes:
        lines = b"x-request-id: %b\r\n" % self.request_id.encode()
        if self._reservation is not None:
            lines += encoded(self._reservation.fields())
        if choice is not None:
            lines += b"x-model-version: %b\r\n" % choice.version.encode()
            if choice.degraded_from:
                lines += b"x-degraded-from: %b\r\n" % choice.degraded_from.encode()
            elif self._asked_model:
                lines += b"x-fallback-from: %b\r\n" % self._asked_model.encode()
        return lines

    # The request ends

    def pause(self) -> None:
        """Take no more from the engine: the client reads too slowly."""
        self._paused = True
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        if self._attempt is not None:
            self._attempt.resume()

    def left(self) -> None:
        """The client left: the engine is told at once."""
        self._end(Outcome.ABORTED, self._status or CLIENT_LEFT, "")

    def cut(self) -> int:
        """End the request because the worker stops. Returns the number of tokens that were sent of its answer."""
        if self._framing is not None:
            self._cut(self._attempt, "the gateway stops", Outcome.CUT, RefusalKind.STOPPING.word)
        else:
            self._refuse(Refusal(RefusalKind.STOPPING, "The gateway stops; send the request again"))
        return self._events

    def _end(self, outcome: Outcome, status: int, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        server, attempt = self._server, self._attempt
        now = server.wheel.now()
        self._pieces = []
        self._settle_body()
        if self._waiting is not None:
            self._safely("leaving the queue", self._waiting.cancel)
            self._waiting = None
        counts = EMPTY
        if attempt is not None:
            if attempt.reader is not None:
                counts = attempt.reader.counts
            self._safely("giving a backend back", attempt.end, outcome, now)
        if (reservation := self._reservation) is not None:
            if attempt is not None and attempt.sent and outcome not in UNTOUCHED:
                self._safely("settling limits", reservation.settle, counts, now)
            else:
                self._safely("settling limits", reservation.cancel, now)
        record = self._record(outcome, status, reason, counts, now)
        self._safely("recording a request", lambda: server.recorder.ended(record, opened=self._opened))
        server.ended(self)

    def _record(self, outcome: Outcome, status: int, reason: str, counts: TokenCounts, now: float) -> UsageRecord:
        choice = None if self._attempt is None else self._attempt.choice
        model = self._model if choice is None else choice.model
        return UsageRecord(
            at=time.time(),
            request_id=self.request_id,
            tenant=self._caller.tenant,
            key_id=self._caller.key_id,
            operation="" if self._operation is None else self._operation.name,
            model="" if model is None else model.name,
            version="" if choice is None else choice.version,
            backend="" if choice is None else choice.backend.url,
            outcome=outcome,
            status=status,
            prompt_tokens=counts.prompt,
            completion_tokens=counts.completion,
            cached_tokens=counts.cached,
            estimated=counts.estimated,
            queue_s=self._queue_s,
            first_s=self._first_s,
            duration_s=now - self._started,
            attempts=self._attempts,
            degraded_from=self._asked_model or ("" if choice is None else choice.degraded_from),
            reason=reason,
            trace=self._trace,
        )

    def _settle_body(self) -> None:
        """Forget the body: it is not sent again."""
        self._server.buffered -= self._buffered
        self._buffered = 0
        self._body = b""

    # Faults of the gateway itself

    def _guarded(self, stage: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # the boundary of one request: its fault must not end the others
            self._fault(stage, error)

    def _safely(self, stage: str, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:  # the end of a request must reach all stages, whichever of them has a fault
            faults.report(stage, self.request_id, error)

    def _fault(self, stage: str, error: Exception) -> None:
        faults.report(stage, self.request_id, error)
        if self.ended:
            self._connection.abort(reset=True)
            return
        refusal = Refusal(RefusalKind.BROKEN, "The gateway has a fault; its log says where, under the request id")
        try:
            self._refuse(refusal)
        except Exception as second:  # the fault is in the refusing itself: the client still gets an answer
            faults.report("refusing a request", self.request_id, second)
            self._end(Outcome.ERROR, 500, RefusalKind.BROKEN.word)
            if self._framing is None:
                self._answer(500, [(b"content-type", b"application/json")], b'{"error":{"message":"internal error"}}')
            else:
                self._connection.abort(reset=True)

    # Refusals

    def _too_large(self) -> Refusal:
        limit = self._server.settings.max_body_bytes
        return Refusal(RefusalKind.TOO_LARGE, f"The body of the request is over {limit:,} bytes")

    def _refuse(self, refusal: Refusal, outcome: Outcome | None = None, reason: str = "") -> None:
        """Answer with a refusal; in a stream whose head is written, with an event that breaks it off."""
        outcome = of_refusal(refusal.kind) if outcome is None else outcome
        reason = reason or refusal.kind.word
        if self._framing is not None:
            self._cut(self._attempt, refusal.message, outcome, reason)
            return
        status, fields, body = self._server.dialects.refuse(self._operation, refusal, self.request_id)
        self._end(outcome, status, reason)
        self._answer(status, fields, body)

    def _answer(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        framing = self._frame(length=len(body), status=status)
        own = b"" if any(name == b"x-request-id" for name, _ in fields) else self._own_lines(None)
        self._connection.write(own_answer(status, fields, own, body, framing))
        self._connection.finish(keep_alive=framing.keep_alive)
