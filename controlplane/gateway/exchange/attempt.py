"""One attempt at a request: a choice of a backend, a connection to it, and its answer up to the last byte.

The head of the answer is held until the first event of the body is known to be good: until then the attempt may fail,
and another one may take its place without the client noticing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.engine import Engine
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Outcome
from controlplane.gateway.seams import AnswerReader, Choice, Dialects
from controlplane.gateway.wire.pool import Connecting
from controlplane.gateway.wire.timer import TimerWheel
from controlplane.gateway.wire.upstream import AnswerHead, UpstreamConnection

MAX_HELD = 256 * 2**10
"""Most bytes of an answer that are held back for its first event. A longer one passes as it is."""
JOINED = 64 * 2**10
"""Bodies up to this size are sent in one piece with their head. Joining a larger one would copy it for nothing."""
BUSY = (429, 503)
"""Statuses of an engine that did not begin: another one may be asked."""
UNAUTHORIZED = (401, 403, 407)
"""Statuses of an engine that refuses the gateway. The client's own key was good, so it must not read of a wrong one."""


class Failed:
    """An attempt that brought no answer."""

    __slots__ = ("body", "head", "outcome", "refusal", "safe", "why")

    def __init__(
        self,
        refusal: Refusal,
        why: str,
        outcome: Outcome,
        *,
        safe: bool,
        head: AnswerHead | None = None,
        body: bytes = b"",
    ) -> None:
        self.refusal = refusal
        """The client's answer when nothing else can be done."""
        self.why = why
        """A word for metrics: connect, lost, http_503, stream_error, timeout."""
        self.outcome = outcome
        self.safe = safe
        """Whether the engine has surely not begun, so that the request may be sent again."""
        self.head = head
        """The engine's own answer, if it was whole: the client gets that one."""
        self.body = body


class Trying(Protocol):
    """The owner of an attempt until its first event."""

    def good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        """The first event is good, or the answer is an error that nobody tries again. `data` is what came so far.
        From here on the attempt calls its `relay`."""
        ...

    def failed(self, attempt: Attempt, failure: Failed) -> None:
        """The attempt failed before its first event."""
        ...

    def waits(self, attempt: Attempt) -> None:
        """The first event is still awaited after `quiet_s`."""
        ...

    def fault(self, stage: str, error: Exception) -> None:
        """The gateway's own code failed in a call of this attempt."""
        ...


class Relaying(Protocol):
    """The taker of an answer from its first event on."""

    def relay(self, attempt: Attempt, data: bytes, done: bool, chunk: bytes, now: float) -> None:
        """A further piece came. `chunk`: the same data as the engine's one chunk, or b"" where it is none."""
        ...

    def broke(self, attempt: Attempt, why: str, outcome: Outcome) -> None:
        """The answer broke off."""
        ...


class Attempt:
    """One attempt. It owns its choice and its connection until it ends."""

    __slots__ = (
        "_body",
        "_connecting",
        "_connection",
        "_deadline_first",
        "_deadline_total",
        "_dialects",
        "_ended",
        "_engine",
        "_good",
        "_head",
        "_held",
        "_idle_s",
        "_moved_at",
        "_owner",
        "_paused",
        "_relay",
        "_request",
        "_timeouts",
        "_wheel",
        "ask",
        "choice",
        "headless",
        "opened",
        "quiet_s",
        "reader",
        "sent",
        "tap",
    )

    def __init__(
        self, owner: Trying, relay: Relaying, choice: Choice, ask: Ask, dialects: Dialects, wheel: TimerWheel
    ) -> None:
        self.choice = choice
        self.ask = ask
        self.reader: AnswerReader | None = None
        self.sent = False
        """Whether the request was given to the engine."""
        self.opened = False
        """Whether the recorder counts it as open."""
        self.tap: Callable[[bytes], None] | None = None
        """Gets what the client gets of the answer."""
        self.headless = False
        self._owner = owner
        self._dialects = dialects
        self._wheel = wheel
        self._relay = relay
        self._timeouts = choice.model.timeouts
        self.quiet_s = math.inf
        """When the owner wants to be told that the first event is still awaited."""
        self._connection: UpstreamConnection | None = None
        self._connecting: Connecting | None = None
        self._head: AnswerHead | None = None
        self._held = b""
        self._good = False
        self._ended = False
        self._paused = False
        self._idle_s = self._timeouts.idle_s
        self._moved_at = 0.0
        """Time of the last piece behind the first event. The deadline does not move with it: it looks when it fires."""

    @property
    def name(self) -> str:
        """The engine, in words for a client, who need not know its address."""
        return f"engine of {self.choice.model.name} {self.choice.version}"

    def start(self, engine: Engine, request: bytes, body: bytes, *, headless: bool) -> None:
        """Send the request, whose head is `request`. `headless`: it is a HEAD request, whose answer has no body."""
        self._engine = engine
        self._request = request
        self._body = body
        self.headless = headless
        now = self._wheel.now()
        timeouts = self._timeouts
        self._deadline_first = now + timeouts.first_event_s
        self._deadline_total = math.inf if timeouts.total_s is None else now + timeouts.total_s
        connection = engine.pool.take()
        if connection is None:
            self._connect()
        else:
            self._send(connection, now)

    def end(self, outcome: Outcome, now: float) -> None:
        """Give the choice back, and close what is still under way. The second call does nothing."""
        if self._ended:
            return
        self._ended = True
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.drop()
            self._connection = None
        self._body = self._held = b""
        self.choice.release(outcome, now, connected=self.sent)

    def pause(self) -> None:
        """Take no more of the answer from the engine."""
        self._paused = True
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        if self._connection is not None:
            if self._good:
                self._moved_at = self._wheel.now()
            self._connection.transport.resume_reading()

    # Calls of the connection. Each is the boundary of one request: its fault must not end the others.

    def answer(self, head: AnswerHead) -> None:
        """Take the head of the answer."""
        self._head = head
        faults.bounded(self._owner, "reading the head of an answer", self._read, head)

    def piece(self, data: bytes, done: bool, chunk: bytes = b"") -> None:
        """Take what one read brought of the body."""
        if done:
            self._connection = None
        try:
            if self._good:
                self._moved_at = now = self._wheel.now()
                self._relay.relay(self, data, done, chunk, now)
            else:
                self._hold(data, done)
        except Exception as error:  # noqa: BLE001 - as in `faults.bounded`, which a call for each piece would cost
            self._owner.fault("passing an answer on", error)

    def lost(self, connection: UpstreamConnection, why: str) -> None:
        """The connection broke: connect again where the engine has surely seen nothing."""
        self._connection = None
        self._guarded("ending a lost attempt", lambda: self._lost(connection, why))

    def late(self) -> None:
        """A deadline has passed: look which."""
        self._guarded("ending a late attempt", self._late)

    # Within

    def _read(self, head: AnswerHead) -> None:
        self.reader = self._dialects.reader(self.ask, head.status, head.fields)

    def _guarded(self, stage: str, call: Callable[[], None]) -> None:
        faults.bounded(self._owner, stage, call)

    def _lost(self, connection: UpstreamConnection, why: str) -> None:
        if connection.reused and not connection.received:
            # The engine closed an idle connection as the request was sent: it has not seen it.
            self._connect()
        elif self._good:
            self._relay.broke(self, f"the connection to the {self.name} ended: {why}", Outcome.CUT)
        else:
            message = f"The {self.name} broke off before its answer began: {why}"
            self._fail(RefusalKind.UPSTREAM_FAILED, message, "lost", safe=False)

    def _late(self) -> None:
        connection = self._connection
        assert connection is not None
        now = self._wheel.now()
        if now >= self._deadline_total:
            self._timed_out(f"no whole answer in {self._timeouts.total_s:g} seconds")
        elif self._paused:
            connection.deadline.set(min(now + self._idle_s, self._deadline_total), now)
        elif self._good and now < self._moved_at + self._idle_s:
            connection.deadline.set(min(self._moved_at + self._idle_s, self._deadline_total), now)
        elif self._good:
            self._timed_out(f"nothing for {self._idle_s:g} seconds in the middle of its answer")
        elif now >= self._deadline_first:
            self._timed_out(f"no first event in {self._timeouts.first_event_s:g} seconds")
        else:
            connection.deadline.set(min(now + self.quiet_s, self._deadline_first, self._deadline_total), now)
            self._owner.waits(self)

    def _connect(self) -> None:
        self._connecting = self._engine.pool.connect(self._timeouts.connect_s, self._connected, self._not_connected)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        self._guarded("sending a request", lambda: self._send(connection, self._wheel.now()))

    def _not_connected(self, why: str) -> None:
        self._connecting = None
        message = f"The {self.name} cannot be reached: {why}"
        self._guarded(
            "ending an attempt",
            lambda: self._fail(RefusalKind.UPSTREAM_FAILED, message, "connect", safe=True),
        )

    def _send(self, connection: UpstreamConnection, now: float) -> None:
        self._connection = connection
        self.sent = True
        body = self._body
        if len(body) <= JOINED:
            connection.send(self, self._request + body, headless=self.headless)
        else:
            connection.send(self, self._request, headless=self.headless)
            connection.transport.write(body)
        connection.deadline.set(min(now + self.quiet_s, self._deadline_first, self._deadline_total), now)
        if self._paused:
            connection.transport.pause_reading()

    def _hold(self, data: bytes, done: bool) -> None:
        """Look at what came before the first good event."""
        head, reader = self._head, self.reader
        assert head is not None
        assert reader is not None
        held = self._held = self._held + data if self._held else data
        status = head.status
        if status in BUSY and not done and len(held) <= MAX_HELD:
            return
        if status in BUSY and done:
            self._busy(head, held)
            return
        if status in UNAUTHORIZED:
            self._unauthorized(status, held)
            return
        verdict: Refusal | bool = True
        if status < 400 and not self.headless:
            verdict = reader.first(held, done) if held or done else False
            if verdict is False and (len(held) > MAX_HELD or (done and not self.ask.stream)):
                verdict = True
        if verdict is True:
            self._pass(head, held, done)
        elif verdict is not False:
            busy = verdict.kind.status in BUSY
            outcome = Outcome.REJECTED if busy else Outcome.ERROR
            # With a detail, the engine refused the gateway: it has not begun either.
            self._owner.failed(self, Failed(verdict, "stream_error", outcome, safe=busy or bool(verdict.detail)))
        elif done:
            message = f"The {self.name} ended its answer before the first event"
            self._fail(RefusalKind.UPSTREAM_FAILED, message, "empty", safe=False)

    def _pass(self, head: AnswerHead, held: bytes, done: bool) -> None:
        self._good = True
        self._held = b""
        self._body = b""
        if self._connection is not None:
            self._moved_at = now = self._wheel.now()
            self._connection.deadline.set(min(now + self._idle_s, self._deadline_total), now)
        self._owner.good(self, head, held, done)

    def _busy(self, head: AnswerHead, body: bytes) -> None:
        message = f"The {self.name} is too busy: it answered {head.status}"
        refusal = Refusal(RefusalKind.NO_CAPACITY, message)
        why = f"http_{head.status}"
        self._owner.failed(self, Failed(refusal, why, Outcome.REJECTED, safe=True, head=head, body=body))

    def _unauthorized(self, status: int, body: bytes) -> None:
        message = f"The {self.name} refuses the gateway's credentials"
        refusal = Refusal(RefusalKind.UPSTREAM_FAILED, message, detail=body[:MAX_HELD].decode(errors="replace"))
        self._owner.failed(self, Failed(refusal, f"http_{status}", Outcome.ERROR, safe=True))

    def _fail(self, kind: RefusalKind, message: str, why: str, *, safe: bool, outcome: Outcome = Outcome.ERROR) -> None:
        self._owner.failed(self, Failed(Refusal(kind, message), why, outcome, safe=safe))

    def _timed_out(self, what: str) -> None:
        message = f"the {self.name} sent {what}"
        if self._good:
            self._relay.broke(self, message, Outcome.TIMEOUT)
        else:
            message = message[0].upper() + message[1:]
            self._fail(RefusalKind.UPSTREAM_TIMEOUT, message, "timeout", safe=False, outcome=Outcome.TIMEOUT)
