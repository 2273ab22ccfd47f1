"""A copy of a request to another version. Its answer is read to the end and thrown away; only its outcome counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.gateway.exchange import faults
from controlplane.gateway.exchange.attempt import Attempt, Failed
from controlplane.gateway.exchange.outcomes import of_status
from controlplane.gateway.request import Ask, Outcome
from controlplane.gateway.seams import Choice
from controlplane.gateway.wire.upstream import AnswerHead

if TYPE_CHECKING:
    from controlplane.gateway.exchange.server import GatewayServer


MOST_OPEN = 1000
"""Most copies that a worker has open. Chosen: a version that hangs holds each for `first_event`."""
MOST_BYTES = 64 * 2**20
"""Most bytes of their bodies. Chosen. They are no part of the bound of all requests: no copy may refuse a request."""


class Mirror:
    """One copy. It is never tried again, and no client waits for it."""

    __slots__ = ("_ended", "_first_s", "_server", "_started", "_status", "attempt", "buffered")

    def __init__(self, server: GatewayServer, choice: Choice, ask: Ask, buffered: int) -> None:
        self.buffered = buffered
        """Bytes of its body."""
        self._server = server
        self._started = server.wheel.now()
        self._first_s: float | None = None
        """Time to the first event of a stream."""
        self._status = 0
        self._ended = False
        self.attempt = Attempt(self, self, choice, ask, server.dialects, server.wheel)

    def end(self, outcome: Outcome) -> None:
        """Count the outcome, and give the backend back."""
        if self._ended:
            return
        self._ended = True
        now = self._server.wheel.now()
        self.attempt.end(outcome, now)
        self._server.mirrored(self, outcome)
        reader, choice = self.attempt.reader, self.attempt.choice
        if outcome is Outcome.OK and reader is not None and reader.content is not None:
            counters = self._server.counters
            if counters is not None:
                lasted = now - self._started
                counters.mirrored_answer(
                    choice.model.name, choice.version, reader.content, reader.counts, self._first_s, lasted
                )

    def good(self, attempt: Attempt, head: AnswerHead, data: bytes, done: bool) -> None:
        """The answer begins."""
        self._status = head.status
        if head.status < 400:
            now = self._server.wheel.now()
            attempt.choice.first_byte(now)
            if attempt.ask.stream:
                self._first_s = now - self._started
        self._read(attempt, data, done)

    def relay(self, attempt: Attempt, data: bytes, done: bool, chunk: bytes, now: float) -> None:
        """Throw a piece away."""
        self._read(attempt, data, done)

    def _read(self, attempt: Attempt, data: bytes, done: bool) -> None:
        """Let the reader see a piece: it tells whether the answer is whole."""
        reader = attempt.reader
        assert reader is not None
        reader.feed(data)
        if done:
            reader.end()
        if self._status < 400 and reader.fault:
            self.end(Outcome.ERROR)
        elif done:
            cut = self._status < 400 and attempt.ask.stream and not reader.whole
            self.end(Outcome.CUT if cut else of_status(self._status))

    def failed(self, attempt: Attempt, failure: Failed) -> None:
        """It brought no answer."""
        self.end(failure.outcome)

    def broke(self, attempt: Attempt, why: str, outcome: Outcome) -> None:
        """It broke off."""
        self.end(outcome)

    def waits(self, attempt: Attempt) -> None:
        """Nobody waits for it."""

    def fault(self, stage: str, error: Exception) -> None:
        """The gateway's own code failed."""
        faults.report(f"{stage}, of a copy", "", error)
        self.end(Outcome.ERROR)
