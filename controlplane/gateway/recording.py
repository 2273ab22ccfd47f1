"""The interfaces of the stages that count requests: the record of a request, its span, and the counters.

Every call is synchronous and does no I/O, as those of `seams.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from controlplane.gateway.request import Content, Outcome, RequestHead, TokenCounts


class Trace(Protocol):
    """The gateway's span of one request, while it is open. `Recorder.ended` ends it."""

    header: bytes
    """`traceparent` for the engine: the gateway's span is the parent of the engine's."""

    def asked(self, body: bytes) -> None:
        """Keep the beginning of the request's body for the span. Does nothing unless content is exported."""
        ...

    def answered(self, data: bytes) -> None:
        """Keep a piece of the answer for the span. Does nothing unless content is exported."""
        ...


class Tracer(Protocol):
    """W3C trace context."""

    def start(self, head: RequestHead, unix: float) -> Trace | None:
        """Begin a span. None: no span is exported; `traceparent` and `tracestate` pass to the engine unchanged."""
        ...


@dataclass(slots=True)
class UsageRecord:
    """One request for the journal. Times in unix seconds, durations in seconds. No prompt, no answer, no address."""

    at: float
    """Time of the end."""
    request_id: str
    tenant: str
    key_id: str
    operation: str
    model: str
    version: str
    backend: str
    outcome: Outcome
    status: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    estimated: bool
    queue_s: float
    first_s: float | None
    """Time to the first event of the answer."""
    duration_s: float
    attempts: int
    degraded_from: str = ""
    reason: str = ""
    """Word of the refusal (RefusalKind.word), or of the engine's fault: `http_500`, `connect`, `cut`, `stream_error`.
    "" for an answer. A refusal for the caller's own limit is never counted as the model's."""
    trace: Trace | None = None
    """The span that ends with this record. It is not in the journal."""
    streamed: bool = False
    """Whether the answer was a stream of events."""
    content: Content | None = None
    """Facts about the answer's content. None: no engine answered, or the operation writes no text."""


class Recorder(Protocol):
    """Takes the facts of requests: the metrics and the journal behind one face."""

    def began(self, model: str, version: str, backend: str) -> None:
        """An attempt was sent: one more request is open on the backend."""
        ...

    def gaps(self, model: str, version: str) -> Callable[[float], None]:
        """Return the counter of the times, in seconds, between two pieces of a version's streams."""
        ...

    def ended(self, record: UsageRecord, *, opened: bool) -> None:
        """A request ended. `opened`: `began` was called for its last attempt."""
        ...

    def retried(self, model: str, version: str, backend: str, why: str) -> None:
        """An attempt failed before its first event, and another one follows."""
        ...


class Counters(Protocol):
    """Numbers beside those of requests. The Recorder of a worker is one."""

    def connections(self, change: int) -> None:
        """`change` more client connections are open."""
        ...

    def waiting(self, model: str, change: int) -> None:
        """`change` more requests are in the queue of a model."""
        ...

    def ejected(self, model: str, version: str, backend: str, *, out: bool) -> None:
        """A backend was ejected (`out`), or taken back after a probe."""
        ...

    def hedged(self, model: str, version: str) -> None:
        """A second attempt was sent because the first event was late."""
        ...

    def mirrored(self, model: str, version: str, outcome: Outcome) -> None:
        """A copy of a request to `version` ended. Its answer was thrown away."""
        ...

    def mirrored_answer(
        self, model: str, version: str, content: Content, counts: TokenCounts, first_s: float | None, duration_s: float
    ) -> None:
        """A copy of a request to `version` got a whole answer that is text. `first_s`: as in a record of a stream."""
        ...

    def cached(self, model: str, *, hit: bool) -> None:
        """A deterministic request was looked up in the response cache."""
        ...
