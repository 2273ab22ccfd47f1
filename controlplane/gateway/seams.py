"""The interfaces between the stages of a request. Every call is synchronous and does no I/O: no stage has a task.

    wire        bytes of the client to a RequestHead and pieces of a body; bytes of the engine to its answer
    dialects    head -> Operation; body -> Ask; the body for the engine; events of the answer -> TokenCounts
    limits      head -> Caller; a Reservation on the limits of key, tenant and model
    choosing    Ask, Caller -> Choice: version, then backend, now or when the queue lets the request pass
    exchange    sends it, retries before the first event where that is safe, relays, settles
    usage       one UsageRecord a request, appended to a journal (`recording.py`)
    telemetry   counters in shared memory (`recording.py`)

`now` is monotonic seconds everywhere (the event loop's time); records hold unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from controlplane.gateway.desired.document import BackendSpec, ModelSpec
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Caller, Content, Fields, Operation, Outcome, RequestHead, TokenCounts

COLUMNS = 128
"""Numbers of workers in shared memory: 64 of a gateway, and 64 of the gateway before it, which drains."""


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the memory that all workers of a gateway share. All bytes are zero at the gateway's first start.

    A worker has a column, 0 to COLUMNS - 1. No other living worker has the same one. The column's next worker finds
    the bytes that the one before left.
    """

    view: memoryview
    """Bytes of this area."""
    fd: int
    """File that backs the memory, for byte-range locks (`fcntl.lockf`). Closing it frees the locks of this process."""
    offset: int
    """Offset of `view` in the file. Locks within [offset, offset + len(view)) belong to this area."""


class AnswerReader(Protocol):
    """Reads one answer of an engine while it passes.

    The client gets the engine's bytes, with three exceptions in a stream. The usage event that only the gateway asked
    for is taken out. An error in a shape that the API's clients overlook becomes one that they raise. Nothing follows
    an error, because an end mark behind it would look like a finished answer. Pieces of events are held back until
    the event is complete. A fresh reader is made for each attempt.
    """

    events: int
    """Events with content so far: each is one token or more."""
    fault: str
    """The engine's error in the body or in an event, in its own words; "" while there is none. What `feed` returned has
    told the client of it."""
    unread: bool
    """Whether the answer is compressed, so that errors and tokens in it are not seen."""
    whole: bool
    """Whether the answer came to its proper end: the last event of the protocol, or a complete body."""
    content: Content | None
    """Facts about the content so far. None: the operation writes no text, or the answer is not read."""

    @property
    def counts(self) -> TokenCounts:
        """Tokens so far: those that the engine reported, and estimates in place of those that it did not."""
        ...

    def first(self, data: bytes, done: bool = False) -> Refusal | bool:
        """Look at the beginning of the body, before anything is sent to the client. `data` is all that came so far, and
        the whole body if it is `done`. It is not counted: `feed` gets it afterwards.

        Returns True when the first event is complete and good, False when more is needed, and a Refusal with the status
        that the event should have been when it is an error (an engine's `200` with an error event).
        """
        ...

    def feed(self, data: bytes) -> bytes:
        """Count the events of a piece of the body, and return what the client gets: `data`, or `data` without the usage
        event that the gateway asked for and the client did not."""
        ...

    def end(self) -> bytes:
        """The engine's body is complete: return what was held back."""
        ...


class Dialects(Protocol):
    """All dialects behind one face."""

    def recognise(self, head: RequestHead) -> Operation | Refusal:
        """Return the operation of a method and path."""
        ...

    def read(self, operation: Operation, head: RequestHead, body: bytes) -> Ask | Refusal:
        """Read what is asked. `body` is whole; a scan finds the fields, without parsing a large body as a whole."""
        ...

    def outgoing(self, ask: Ask, head: RequestHead, body: bytes, backend: BackendSpec) -> tuple[bytes, bytes]:
        """Return (target, body) for a backend: its served name in place of the client's, its version in the path, and a
        wish for usage in a stream. The target begins with the path of the backend's URL. Files of forms and tensors
        stay as they are, byte for byte."""
        ...

    def reader(self, ask: Ask, status: int, fields: Fields) -> AnswerReader:
        """Return the reader of one answer."""
        ...

    def refuse(self, operation: Operation | None, refusal: Refusal, request_id: str) -> tuple[int, Fields, bytes]:
        """Return (status, fields, body) of a refusal in the dialect's shape, without Content-Length. `None`: the path
        was not recognised."""
        ...

    def broken(self, operation: Operation, message: str, request_id: str) -> bytes:
        """Return the event that tells the client, in the middle of a stream, that the answer broke off. It never looks
        like an end: no `[DONE]`, and the connection is aborted after it. b"" where the protocol has no such event."""
        ...

    def models(self, operation: Operation, path: bytes, names: list[str], created: int) -> bytes | Refusal:
        """Return the body of a list of models, or of one model."""
        ...


class Reservation(Protocol):
    """Tokens and money set aside for one request. Settled or abandoned exactly once; a second call does nothing."""

    def lines(self) -> bytes:
        """Return the header lines `x-ratelimit-*` of the answer."""
        ...

    def settle(self, counts: TokenCounts, now: float) -> None:
        """Replace the estimate by what was used. A count that is None keeps its part of the estimate."""
        ...

    def cancel(self, now: float) -> None:
        """Give everything back: no engine worked on the request."""
        ...


class Limits(Protocol):
    """Keys, and the limits of key, tenant and model, shared by all workers of this gateway."""

    def authenticate(self, head: RequestHead, unix: float) -> Caller | Refusal:
        """Return the caller of `Authorization: Bearer` or `x-api-key`."""
        ...

    def reserve(
        self, caller: Caller, model: ModelSpec, prompt: int, answer: int | None, now: float
    ) -> Reservation | Refusal:
        """Set aside a request, its tokens, their price and a place of concurrency on all limits, or nothing.

        `prompt` is the estimate of the prompt's tokens, and `answer` the most tokens of the answer. None: the request
        sets no such limit, and the mean of the model's recent answers is set aside (`estimate.tokens_of(ask)`
        returns both).
        """
        ...


class Choice(Protocol):
    """A backend that was acquired for one attempt. Released exactly once, on every path."""

    model: ModelSpec
    version: str
    backend: BackendSpec
    degraded_from: str
    """The model that the client asked for when a smaller one answers; "" otherwise."""

    def first_byte(self, now: float) -> None:
        """The first event came: the latency of the first token is known."""
        ...

    def progress(self, tokens: int) -> None:
        """`tokens` more were generated: the backend's outstanding work shrinks."""
        ...

    def release(self, outcome: Outcome, now: float, *, connected: bool = True) -> None:
        """Give the backend back. The outcome tells the health of the backend; ABORTED and INVALID tell nothing, and
        REJECTED says that the engine is full. `connected`: whether a connection to the backend was made."""
        ...


class Route(Protocol):
    """A version that was chosen, before its backend. It is used within the same event, for one request."""

    @property
    def name(self) -> str:
        """Name of the version."""
        ...


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One whole answer for the response cache, as the engine sent it."""

    status: int
    fields: Fields
    """Header fields without those that belong to one exchange, such as `date` and `x-request-id`."""
    body: bytes
    counts: TokenCounts
    backend: str
    """URL of the backend that generated it."""


class Cache(Protocol):
    """Answers of one model to deterministic requests. It keeps successes (status 200) only, within its size."""

    def key(self, ask: Ask, caller: Caller, version: str, target: bytes, body: bytes) -> bytes:
        """Return the key of a request: equal for equal bytes to the same target, version and tenant."""
        ...

    def get(self, key: bytes, now: float) -> StoredAnswer | None:
        """Return the answer of a key, unless it is too old."""
        ...

    def put(self, key: bytes, answer: StoredAnswer, now: float) -> None:
        """Keep an answer."""
        ...


class Waiting(Protocol):
    """A request in the queue."""

    def cancel(self) -> None:
        """The client left: take the request out of the queue."""
        ...


class Chooser(Protocol):
    """Version first, backend second."""

    def model(self, ask: Ask, caller: Caller) -> ModelSpec | Refusal:
        """Return the model of a name, an alias or a LoRA adapter. A model that the key may not ask is unknown to it.
        A path that must be listed is refused where the model does not list it."""
        ...

    def named(self, name: str, caller: Caller) -> ModelSpec | None:
        """Return a model by its name, such as one of another's `fallbacks`. None: the caller has none of it."""
        ...

    def names(self, caller: Caller) -> list[str]:
        """Return the names that a caller may ask for, sorted: models, aliases and LoRA adapters."""
        ...

    def cache(self, model: ModelSpec) -> Cache | None:
        """Return the response cache of a model. None: it has none."""
        ...

    def route(self, ask: Ask, caller: Caller, model: ModelSpec) -> Route | Refusal:
        """Return the version of a request, to look into the cache before `choose`, which then gets the route."""
        ...

    def choose(
        self,
        ask: Ask,
        caller: Caller,
        model: ModelSpec,
        now: float,
        granted: Callable[[Choice | Refusal], None],
        route: Route | None = None,
    ) -> Choice | Refusal | Waiting:
        """Return a choice, or a place in the queue: then `granted` is called once, later, from the event loop."""
        ...

    def again(self, ask: Ask, failed: Choice, now: float) -> Choice | Refusal:
        """Return a backend of the same version for a retry, one that was not tried if any is free, or a Refusal.
        `failed` was released before."""
        ...

    def hedge_after(self, choice: Choice) -> float | None:
        """Return the seconds after which a request without a first event deserves a second attempt. None: never."""
        ...

    def hedge(self, ask: Ask, first: Choice, now: float) -> Choice | None:
        """Return another backend of the same version for a second attempt. None: not now."""
        ...

    def mirror(self, ask: Ask, choice: Choice, now: float) -> Choice | None:
        """Return a backend for a copy of the request, whose answer is thrown away. None: it is not copied. Asked once
        for each request."""
        ...


class Timer(Protocol):
    """One entry of the timer wheel."""

    def cancel(self) -> None:
        """Take it off the wheel."""
        ...


class Wheel(Protocol):
    """One coarse timer for all deadlines of a worker (0.1 s steps): no timer of the event loop for each stream."""

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once, not before `seconds` have passed."""
        ...
