"""All attempts at one request, until one of them has its first event: retries, and a second one beside a late first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.attempt import Attempt, Failed, Relaying
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Frames, Outcome, RequestHead
from controlplane.gateway.seams import Choice, Timer
from controlplane.gateway.wire.upstream import AnswerHead

if TYPE_CHECKING:
    from controlplane.gateway.exchange.server import GatewayServer

LOST_HEDGE = "hedge"
"""Why the attempt that lost against the other one of a hedged request ended. It is no failure."""


class Trier(Relaying, Protocol):
    """The exchange that attempts belong to."""

    ended: bool

    def good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        """An attempt has its first event: its answer is the client's."""
        ...

    def waits(self, attempt: Attempt) -> None:
        """The first event is still awaited."""
        ...

    def exhausted(self, attempt: Attempt, failure: Failed) -> None:
        """The attempt failed, and no backend of its version is left to try."""
        ...

    def fault(self, stage: str, error: Exception) -> None:
        """The gateway's own code failed."""
        ...


class Tries:
    """The attempts of one request."""

    __slots__ = (
        "_ask", "_body", "_head", "_hedge", "_lines", "_paused", "_rival", "_server", "_tap", "_traced", "_trier",
        "attempt", "count",
    )  # fmt: skip

    def __init__(self, server: GatewayServer, trier: Trier, head: RequestHead, lines: bytes, traced: bytes) -> None:
        """`lines` and `traced`: what the gateway adds to the head for the engine, as Engine.request takes it."""
        self.attempt: Attempt | None = None
        """The last attempt, or the one that has its first event."""
        self.count = 0
        """Attempts so far."""
        self._server = server
        self._trier = trier
        self._head = head
        self._lines = lines
        self._traced = traced
        self._ask: Ask
        self._body = b""
        self._tap: Callable[[bytes], None] | None = None
        self._hedge: Timer | None = None
        self._rival: Attempt | None = None
        """A second attempt beside the first."""
        self._paused = False

    def send(self, choice: Choice, ask: Ask, body: bytes, tap: Callable[[bytes], None] | None) -> None:
        """Send the request to a backend. `tap` gets what the client gets of the answer."""
        self._ask = ask
        self._body = body
        self._tap = tap
        first = self.count == 0
        self._send(choice)
        if first and not self._trier.ended:
            self._beside(choice)

    def pause(self) -> None:
        """Take no more from the engine."""
        self._paused = True
        if self.attempt is not None:
            self.attempt.pause()

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        if self.attempt is not None:
            self.attempt.resume()

    def end(self, outcome: Outcome, now: float) -> None:
        """End what is under way."""
        if self._hedge is not None:
            self._settle()
        if self._rival is not None:
            self._lose(self._rival, Outcome.ABORTED, LOST_HEDGE)
        if self.attempt is not None:
            self.attempt.end(outcome, now)

    def close(self) -> None:
        """The request has ended, and is not held by its attempts any more."""
        self.attempt = None

    # Calls of attempts

    def good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        """This one answers: the other one is not needed."""
        if self._rival is not None and self.attempt is not None:
            self._lose(self.attempt if attempt is self._rival else self._rival, Outcome.ABORTED, LOST_HEDGE)
        if self._hedge is not None:
            self._settle()
        self._trier.good(attempt, head, data, done)

    def failed(self, attempt: Attempt, failure: Failed) -> None:
        """Go on with the other one, or with another backend where the engine has surely not begun."""
        if self._rival is not None:
            self._lose(attempt, failure.outcome, failure.why)
            return
        server = self._server
        now = server.wheel.now()
        attempt.end(failure.outcome, now)
        choice = attempt.choice
        if words := failure.refusal.detail:
            server.words.log(choice.backend.url, attempt.name, failure.why, words, now)
        if failure.safe and self.count <= choice.model.retries:
            other = server.chooser.again(self._ask, choice, now)
            if not isinstance(other, Refusal):
                server.retried(attempt, failure.why)
                self._send(other)
                return
        self._settle()
        self._trier.exhausted(attempt, failure)

    def waits(self, attempt: Attempt) -> None:
        """The first event is still awaited."""
        if attempt is self.attempt:
            self._trier.waits(attempt)

    def fault(self, stage: str, error: Exception) -> None:
        """The gateway's own code failed."""
        self._trier.fault(stage, error)

    # Within

    def _send(self, choice: Choice) -> None:
        self.attempt = attempt = self._made(choice)
        if not self._server.send(attempt, self._head, self._body, self._lines, self._traced):
            message = f"The gateway cannot read its credentials for the {attempt.name}"
            refusal = Refusal(RefusalKind.UPSTREAM_FAILED, message)
            self.failed(attempt, Failed(refusal, "credentials", Outcome.ERROR, safe=True))

    def _made(self, choice: Choice) -> Attempt:
        ask, server = self._ask, self._server
        attempt = Attempt(self, self._trier, choice, ask, server.dialects, server.wheel)
        self.count += 1
        attempt.tap = self._tap
        if ask.stream and ask.operation.frames is Frames.SSE:
            attempt.quiet_s = server.settings.keep_alive_event_s
        if self._paused:
            attempt.pause()
        return attempt

    def _beside(self, choice: Choice) -> None:
        """Set up what goes beside a first attempt: a second one if its first event is late, and a copy."""
        server, model = self._server, choice.model
        if model.hedge is not None and (after := server.chooser.hedge_after(choice)) is not None:
            self._hedge = server.wheel.after(after, self._late)
        if model.mirror is not None:
            copy = server.chooser.mirror(self._ask, choice, server.wheel.now())
            if copy is not None:
                server.mirror(copy, self._ask, self._head, self._body, self._lines)

    def _late(self) -> None:
        """The first event is late: ask a second engine as well."""
        self._hedge = None
        faults.bounded(self._trier, "sending a second attempt", self._send_rival)

    def _send_rival(self) -> None:
        first, server = self.attempt, self._server
        if self._trier.ended or first is None:
            return
        choice = server.chooser.hedge(self._ask, first.choice, server.wheel.now())
        if choice is None:
            return
        server.count_hedged(choice)
        self._rival = rival = self._made(choice)
        if not server.send(rival, self._head, self._body, self._lines, self._traced):
            self._lose(rival, Outcome.ERROR, "credentials")

    def _lose(self, attempt: Attempt, outcome: Outcome, why: str) -> None:
        """One of two attempts has ended, and the other one goes on."""
        if attempt is self.attempt:
            self.attempt = self._rival
        self._rival = None
        attempt.end(outcome, self._server.wheel.now())
        self._server.retried(attempt, why)

    def _settle(self) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None
