"""The life of one request: a state machine whose steps are calls of its client, of the queue, and of its attempts.

intake      recognise the operation, authenticate the caller, keep the body until it is whole, read what is asked
asked       find the model, reserve on its limits, look into the response cache
choose      a backend now, or a place in the queue
tries       send; a failed attempt is followed by another, where the engine has surely not begun
good        the first event came: from here on bytes are passed on, and nothing is tried again
end         settle, release, record: exactly once, on every path
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.estimate import tokens_of
from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.answer import Answer, End
from controlplane.gateway.exchange.attempt import Attempt, Failed
from controlplane.gateway.exchange.caching import CacheLookup, look_up
from controlplane.gateway.exchange.intake import Intake
from controlplane.gateway.exchange.outcomes import UNTOUCHED, of_refusal, unfit
from controlplane.gateway.exchange.record import record_of
from controlplane.gateway.exchange.tries import Tries
from controlplane.gateway.exchange.writing import own_lines
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Fields, Operation, Outcome, RequestHead, TokenCounts
from controlplane.gateway.seams import Choice, Reservation, Route, StoredAnswer, Waiting
from controlplane.gateway.wire.client import ClientConnection
from controlplane.gateway.wire.upstream import AnswerHead

if TYPE_CHECKING:
    from controlplane.gateway.exchange.server import GatewayServer

CLIENT_LEFT = 499
"""Status in the record of a request whose client left before its answer began, as nginx writes it."""
NO_COUNTS = TokenCounts()
NO_FALLBACKS: Iterator[str] = iter(())
JSON: Fields = [(b"content-type", b"application/json")]


class Exchange:
    """One request. All calls are made on the event loop."""

    __slots__ = (
        "_answer", "_ask", "_asked_model", "_connection", "_fallbacks", "_first_s", "_id_line", "_intake", "_lookup",
        "_model", "_queue_s", "_queued_at", "_reservation", "_server", "_started", "_tries", "_waiting", "ended",
        "request_id",
    )  # fmt: skip

    def __init__(self, server: GatewayServer, connection: ClientConnection, head: RequestHead, request_id: str) -> None:
        self.request_id = request_id
        self.ended = False
        self._id_line = b"x-request-id: %b\r\n" % request_id.encode()
        self._server = server
        self._connection = connection
        self._started = server.wheel.now()
        self._intake = Intake(server, self, head)
        self._ask: Ask | None = None
        self._asked_model = ""
        """The client's model, when a fallback of it is asked."""
        self._model: ModelSpec | None = None
        self._reservation: Reservation | None = None
        self._fallbacks = NO_FALLBACKS
        self._lookup: CacheLookup | None = None
        self._waiting: Waiting | None = None
        self._queued_at = self._queue_s = 0.0
        self._tries: Tries | None = None
        self._answer = Answer(connection, head, server.recorder)
        self._first_s: float | None = None

    # Calls of the client's connection

    def begin(self) -> None:
        """Take the head."""
        faults.bounded(self, "reading a head", self._intake.begin, self._connection)

    def body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if not self.ended:
            self._intake.take(data)

    def complete(self) -> None:
        """Take the end of the body."""
        if not self.ended:
            faults.bounded(self, "reading a request", self._intake.complete)

    def pause(self) -> None:
        """Take no more from the engine: the client reads too slowly."""
        if self._tries is not None:
            self._tries.pause()

    def resume(self) -> None:
        """Go on."""
        if self._tries is not None:
            self._tries.resume()

    def left(self) -> None:
        """The client left: the engine is told at once."""
        self._end(End(Outcome.ABORTED, ""))

    def cut(self) -> int:
        """End the request because the worker stops. Returns the number of tokens that were sent of its answer."""
        if self._answer.framing is not None:
            self._break_off(End(Outcome.CUT, RefusalKind.STOPPING.word, "the gateway stops"))
        else:
            self.refuse(Refusal(RefusalKind.STOPPING, "The gateway stops; send the request again"))
        return self._answer.events

    # What it asks, and of whom

    def local(self, operation: Operation) -> None:
        """Answer with a list of models."""
        server = self._server
        names = server.chooser.names(self._intake.caller)
        body = server.dialects.models(operation, self._intake.head.path, names, server.created)
        if isinstance(body, Refusal):
            self.refuse(body)
            return
        self.ended = True
        self._intake.close()
        server.ended(self)
        self._finish(self._answer.whole(200, JSON, self._own_lines(None), body))

    def asked(self, ask: Ask) -> None:
        """Find the model, reserve on its limits, look into its cache, and choose a backend."""
        self._ask = ask
        server, caller = self._server, self._intake.caller
        chooser = server.chooser
        model = chooser.model(ask, caller)
        if isinstance(model, Refusal):
            self.refuse(model)
            return
        if model.fallbacks:
            self._fallbacks = iter(model.fallbacks)
        if (refusal := self._reserve(ask, model)) is not None:
            self.refuse(refusal)
            return
        route: Route | None = None
        if ask.deterministic and (cache := chooser.cache(model)) is not None:
            found = chooser.route(ask, caller, model)
            if isinstance(found, Refusal):
                self._chosen(found)
                return
            route = found
            self._lookup = look_up(cache, ask, caller, route.name, self._intake.head.target, self._intake.body)
            stored = self._lookup.get(server.wheel.now())
            server.count_cached(model.name, hit=stored is not None)
            if stored is not None:
                self._replay(stored)
                return
        self._choose(ask, model, route)

    def _reserve(self, ask: Ask, model: ModelSpec) -> Refusal | None:
        self._model = model
        prompt, answer = tokens_of(ask)
        now = self._server.wheel.now()
        reservation = self._server.limits.reserve(self._intake.caller, model, prompt, answer, now)
        if isinstance(reservation, Refusal):
            return reservation
        self._reservation = reservation
        return None

    def _replay(self, stored: StoredAnswer) -> None:
        """Answer from the cache. No engine works, so no tokens are charged."""
        lines = self._own_lines(None) + b"x-cache: hit\r\n"
        keep_alive = self._answer.whole(stored.status, stored.fields, lines, stored.body)
        self._first_s = self._server.wheel.now() - self._started
        self._end(End(Outcome.OK, ""), TokenCounts(prompt=0, completion=0))
        self._finish(keep_alive)

    def _choose(self, ask: Ask, model: ModelSpec, route: Route | None = None) -> None:
        self._queued_at = now = self._server.wheel.now()
        chosen = self._server.chooser.choose(ask, self._intake.caller, model, now, self._granted, route)
        if isinstance(chosen, Refusal) or hasattr(chosen, "backend"):
            self._chosen(cast("Choice | Refusal", chosen))
        else:
            self._waiting = chosen

    def _granted(self, chosen: Choice | Refusal) -> None:
        """The queue lets the request pass, or gives it up."""
        now = self._server.wheel.now()
        self._waiting = None
        self._queue_s += now - self._queued_at
        if self.ended:
            if not isinstance(chosen, Refusal):
                chosen.release(Outcome.ABORTED, now)
            return
        faults.bounded(self, "giving a request to a backend", self._chosen, chosen)

    def _chosen(self, chosen: Choice | Refusal) -> None:
        if isinstance(chosen, Refusal):
            other = self._fallback() if chosen.kind is RefusalKind.NO_CAPACITY else None
            if other is None:
                self.refuse(chosen)
            else:
                self._choose(cast(Ask, self._ask), other)
            return
        intake = self._intake
        if self._tries is None:
            lines = self._id_line + self._connection.forwarded
            traced = b"" if intake.trace is None else intake.trace.header
            self._tries = Tries(self._server, self, intake.head, lines, traced)
            self._answer.trace = intake.trace
            if self._connection.paused:
                self._tries.pause()
        if chosen.degraded_from:
            self._lookup = None  # the answer is another model's
        tap = None if self._lookup is None else self._lookup.take
        self._tries.send(chosen, cast(Ask, self._ask), intake.body, tap)

    def _fallback(self) -> ModelSpec | None:
        """Return the next model that may answer instead, with its limits reserved. None: there is none."""
        ask = cast(Ask, self._ask)
        for name in self._fallbacks:
            model = self._server.chooser.named(name, self._intake.caller)
            if model is None or not model.passes(ask.listed_path):
                continue
            reservation, self._reservation = self._reservation, None
            if reservation is not None:
                reservation.cancel(self._server.wheel.now())
            other = replace(ask, model=name)
            if self._reserve(other, model) is None:
                self._asked_model = self._asked_model or ask.model
                self._ask = other
                self._lookup = None
                return model
        return None

    # Calls of the attempts

    def exhausted(self, attempt: Attempt, failure: Failed) -> None:
        """Ask another model, pass the engine's own refusal on, or refuse."""
        if self._answer.framing is None:
            other = self._fallback() if failure.safe else None
            if other is not None:
                self._server.retried(attempt, failure.why)
                self._choose(cast(Ask, self._ask), other)
                return
            if failure.head is not None:
                self.good(attempt, failure.head, failure.body, True)
                return
        self.refuse(failure.refusal, failure.outcome, failure.why)

    def waits(self, attempt: Attempt) -> None:
        """Send a sign of life in place of the first event, which is still awaited."""
        self._answer.wait(self._own_lines(attempt.choice))

    def good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        """Begin the answer to the client."""
        now = self._server.wheel.now()
        self._first_s = now - self._started
        self._intake.forget()
        status = head.status
        begun = self._answer.framing is not None
        refused = None if status == 200 else unfit(status, attempt.ask.operation, attempt.name, begun=begun)
        if refused is not None:
            outcome = of_refusal(refused.kind)
            attempt.end(outcome, now)
            self.refuse(refused, outcome, f"http_{status}")
            return
        if status < 400:
            attempt.choice.first_byte(now)
        if attempt.reader is not None and attempt.reader.unread and attempt.ask.operation.generates:
            self._lookup = None  # another client may not read that coding
            self._server.words.unread(attempt.choice.backend.url, attempt.name, now)
        if self._lookup is not None:
            self._lookup.begin(head)
        end = self._answer.begin(attempt, head, self._own_lines(attempt.choice), data, done, now)
        if end is not None:
            self._answered(attempt, end)

    def relay(self, attempt: Attempt, data: bytes, done: bool, chunk: bytes, now: float) -> None:
        """Pass a further piece on."""
        end = self._answer.relay(attempt, data, done, chunk, now)
        if end is not None:
            self._answered(attempt, end)

    def broke(self, attempt: Attempt, why: str, outcome: Outcome) -> None:
        """End the answer so that it does not look finished."""
        self._break_off(End(outcome, "cut" if outcome is Outcome.CUT else outcome.value, why))

    def fault(self, stage: str, error: Exception) -> None:
        """A stage has a fault: the client gets a 500, or sees that its answer broke off."""
        faults.report(stage, self.request_id, error)
        if self.ended:
            self._connection.abort(reset=True)
            return
        refusal = Refusal(RefusalKind.BROKEN, "The gateway has a fault. Its log has the place")
        if not faults.contained("refusing a request", self.request_id, self.refuse, refusal):
            # The client still gets an answer.
            self._end(End(Outcome.ERROR, RefusalKind.BROKEN.word))
            if self._answer.framing is None:
                self._finish(self._answer.whole(500, JSON, b"", b'{"error":{"message":"The gateway has a fault"}}'))
            else:
                self._connection.abort(reset=True)

    # The answer, and the end

    def refuse(self, refusal: Refusal, outcome: Outcome | None = None, reason: str = "") -> None:
        """Answer with a refusal; in a stream whose head is written, with an event that breaks it off."""
        end = End(outcome or of_refusal(refusal.kind), reason or refusal.kind.word, refusal.message)
        if self._answer.framing is not None:
            self._break_off(end)
            return
        status, fields, body = self._server.dialects.refuse(self._intake.operation, refusal, self.request_id)
        own = b"" if any(name == b"x-request-id" for name, _ in fields) else self._own_lines(None)
        keep_alive = self._answer.whole(status, fields, own, body)
        self._end(end)
        self._finish(keep_alive)

    def _answered(self, attempt: Attempt, end: End) -> None:
        if end.message:
            self._break_off(end)
            return
        framing, reader = self._answer.framing, attempt.reader
        if self._lookup is not None and end.outcome is Outcome.OK and reader is not None:
            self._lookup.put(reader.counts, attempt.choice.backend.url, self._server.wheel.now())
        self._end(end)
        self._finish(framing is not None and framing.keep_alive)

    def _break_off(self, end: End) -> None:
        event = b""
        if self._answer.stream and not end.told:
            operation = cast(Operation, self._intake.operation)
            event = self._server.dialects.broken(operation, end.message, self.request_id)
        self._end(end)
        self._answer.break_off(event)

    def _own_lines(self, choice: Choice | None) -> bytes:
        return own_lines(self._id_line, self._reservation, choice, self._asked_model)

    def _finish(self, keep_alive: bool) -> None:
        self._connection.finish(keep_alive=keep_alive)

    def _end(self, end: End, counts: TokenCounts | None = None) -> None:
        """Settle, release, record. `counts` are given where no engine was asked."""
        if self.ended:
            return
        self.ended = True
        server, tries, request_id = self._server, self._tries, self.request_id
        now = server.wheel.now()
        if self._waiting is not None:
            faults.contained("leaving the queue", request_id, self._waiting.cancel)
        attempt = None
        if tries is not None:
            faults.contained("giving a backend back", request_id, tries.end, end.outcome, now)
            attempt = tries.attempt
        charged = counts is not None
        if counts is None:
            counts = NO_COUNTS if attempt is None or attempt.reader is None else attempt.reader.counts
            charged = attempt is not None and attempt.sent and end.outcome not in UNTOUCHED
        if (reservation := self._reservation) is not None:
            if charged:
                faults.contained("settling limits", request_id, reservation.settle, counts, now)
            else:
                faults.contained("settling limits", request_id, reservation.cancel, now)
        faults.contained("recording a request", request_id, self._record, end, attempt, counts, now)
        self._intake.close()
        if tries is not None:
            tries.close()
            self._tries = None
        server.ended(self)

    def _record(self, end: End, attempt: Attempt | None, counts: TokenCounts, now: float) -> None:
        intake = self._intake
        reader = None if attempt is None else attempt.reader
        record = record_of(
            end,
            self._answer.status or CLIENT_LEFT,
            counts,
            self.request_id,
            intake.caller,
            intake.operation,
            self._model,
            None if attempt is None else attempt.choice,
            self._asked_model,
            self._queue_s,
            self._first_s,
            now - self._started,
            0 if self._tries is None else self._tries.count,
            intake.trace,
            self._answer.stream,
            None if reader is None else reader.content,
        )
        self._server.recorder.ended(record, opened=attempt is not None and attempt.opened)
