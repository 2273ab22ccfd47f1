"""Small stand-ins of the stages around the data path, for tests of the data path alone.

They know `POST /v1/chat/completions` with `model` and `stream` in a JSON body, `POST /v2/models/NAME/infer`, and
`GET /v1/models`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.gateway.desired.document import BackendSpec, ModelSpec
from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import (
    Ask,
    Caller,
    Content,
    Fields,
    Frames,
    ModelPlace,
    Operation,
    Outcome,
    RequestHead,
    TokenCounts,
)
from controlplane.gateway.seams import Cache, Choice, Route, StoredAnswer, Waiting

CHAT = Operation("openai", "chat", ModelPlace.BODY, Frames.SSE)
INFER = Operation("triton", "infer", ModelPlace.PATH, Frames.NONE, generates=False)
MODELS = Operation("openai", "models", ModelPlace.NONE, Frames.NONE, generates=False, local=True)
ANONYMOUS = Caller(key_id="", tenant="anonymous")


class Reader:
    """Reads SSE of a chat, or one body."""

    def __init__(self, *, stream: bool) -> None:
        self.counts = TokenCounts()
        self.events = 0
        self.fault = ""
        self.unread = False
        self.whole = not stream
        self.content: Content | None = Content(said=True)
        self._stream = stream
        self._seen = b""

    def first(self, data: bytes, done: bool = False) -> Refusal | bool:
        if not self._stream:
            return True
        if b"\n\n" not in data:
            return False
        event = data[: data.index(b"\n\n")]
        if b'"error"' in event:
            status = json.loads(event.removeprefix(b"data: "))["error"].get("code")
            kind = RefusalKind.NO_CAPACITY if status == 503 else RefusalKind.UPSTREAM_FAILED
            return Refusal(kind, "the engine said in its first event that it failed")
        return True

    def feed(self, data: bytes) -> bytes:
        if not self._stream:
            return data
        if b'"error"' in data:
            self.fault = "the engine failed"
            return data.partition(b"data: [DONE]")[0]
        self._seen += data
        self.events = self.counts.completion = self._seen.count(b'"content"')
        self.whole = b"data: [DONE]\n\n" in self._seen
        return data

    def end(self) -> bytes:
        return b""


class Dialects:
    """Dialects of two operations."""

    fail_at = ""
    """The name of the method that has a fault."""

    def recognise(self, head: RequestHead) -> Operation | Refusal:
        self._fail("recognise")
        if head.path == b"/v1/models":
            return MODELS
        if head.path == b"/v1/chat/completions":
            return CHAT if head.method == b"POST" else Refusal(RefusalKind.BAD_METHOD, "only POST")
        if head.path.startswith(b"/v2/models/"):
            return INFER
        return Refusal(RefusalKind.UNKNOWN_PATH, "no such path")

    def read(self, operation: Operation, head: RequestHead, body: bytes) -> Ask | Refusal:
        self._fail("read")
        if operation is INFER:
            return Ask(operation, head.path.split(b"/")[3].decode(), prompt_bytes=len(body))
        try:
            document = json.loads(body)
        except ValueError:
            return Refusal(RefusalKind.MALFORMED, "the body is no JSON")
        ask = Ask(operation, document["model"], stream=document.get("stream", False), prompt_bytes=len(body))
        ask.deterministic = document.get("temperature") == 0
        return ask

    def outgoing(self, ask: Ask, head: RequestHead, body: bytes, backend: BackendSpec) -> tuple[bytes, bytes]:
        self._fail("outgoing")
        return head.target, body

    def reader(self, ask: Ask, status: int, fields: Fields) -> Reader:
        self._fail("reader")
        return Reader(stream=ask.stream and status < 400)

    def refuse(self, operation: Operation | None, refusal: Refusal, request_id: str) -> tuple[int, Fields, bytes]:
        self._fail("refuse")
        error = {"message": refusal.message, "code": refusal.code or refusal.kind.word}
        fields: Fields = [(b"content-type", b"application/json")]
        fields.append((b"x-should-retry", b"true" if refusal.kind.retry else b"false"))
        return refusal.kind.status, fields, json.dumps({"error": error}).encode()

    def broken(self, operation: Operation, message: str, request_id: str) -> bytes:
        return b"data: " + json.dumps({"error": {"message": message}}).encode() + b"\n\n"

    def models(self, operation: Operation, path: bytes, names: list[str], created: int) -> bytes | Refusal:
        return json.dumps({"data": [{"id": name, "created": created} for name in names]}).encode()

    def _fail(self, method: str) -> None:
        if method == self.fail_at:
            raise RuntimeError("secret prompt")


class Reservation:
    """Notes how it ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.counts: TokenCounts | None = None

    def lines(self) -> bytes:
        return b"x-ratelimit-limit-requests: 10\r\n"

    def settle(self, counts: TokenCounts, now: float) -> None:
        self.ends.append("settled")
        self.counts = counts

    def cancel(self, now: float) -> None:
        self.ends.append("cancelled")


class Limits:
    """Everybody may, but the key `wrong`, and models named in `spent` are over their limit."""

    def __init__(self) -> None:
        self.reservations: list[Reservation] = []
        self.spent: set[str] = set()
        self.caller = ANONYMOUS

    def authenticate(self, head: RequestHead, unix: float) -> Caller | Refusal:
        if head.get(b"authorization") == b"Bearer wrong":
            return Refusal(RefusalKind.UNAUTHENTICATED, "the key is not known")
        return self.caller

    def reserve(
        self, caller: Caller, model: ModelSpec, prompt: int, answer: int | None, now: float
    ) -> Reservation | Refusal:
        if model.name in self.spent:
            return Refusal(RefusalKind.RATE_LIMITED, "too many requests")
        self.reservations.append(Reservation())
        return self.reservations[-1]


class Chosen:
    """A choice that notes what happened to it."""

    def __init__(self, model: ModelSpec, version: str, backend: BackendSpec) -> None:
        self.model = model
        self.version = version
        self.backend = backend
        self.degraded_from = ""
        self.firsts = 0
        self.tokens = 0
        self.released: list[Outcome] = []
        self.connected: bool | None = None

    def first_byte(self, now: float) -> None:
        self.firsts += 1

    def progress(self, tokens: int) -> None:
        self.tokens += tokens

    def release(self, outcome: Outcome, now: float, *, connected: bool = True) -> None:
        self.released.append(outcome)
        self.connected = connected


@dataclass(frozen=True)
class Way:
    """A version, before its backend."""

    name: str


class Answers:
    """A response cache without a limit."""

    def __init__(self) -> None:
        self.kept: dict[bytes, StoredAnswer] = {}

    def key(self, ask: Ask, caller: Caller, version: str, target: bytes, body: bytes) -> bytes:
        return version.encode() + target + body

    def get(self, key: bytes, now: float) -> StoredAnswer | None:
        return self.kept.get(key)

    def put(self, key: bytes, answer: StoredAnswer, now: float) -> None:
        self.kept[key] = answer


class Queued:
    """A place in the queue."""

    def __init__(self, granted: Callable[[Choice | Refusal], None]) -> None:
        self.granted = granted
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Chooser:
    """The first version; its backends in turn. `queueing`: every request waits until the test grants it."""

    def __init__(self, models: tuple[ModelSpec, ...]) -> None:
        self.models = {name: model for model in models for name in (model.name, *model.aliases)}
        self.choices: list[Chosen] = []
        self.queueing = False
        self.queue: list[Queued] = []
        self.caches: dict[str, Cache] = {}
        self.hedge_s: float | None = None
        self.degraded_from = ""

    def model(self, ask: Ask, caller: Caller) -> ModelSpec | Refusal:
        model = self.models.get(ask.model)
        return model or Refusal(RefusalKind.UNKNOWN_MODEL, f"there is no model {ask.model}")

    def choose(
        self,
        ask: Ask,
        caller: Caller,
        model: ModelSpec,
        now: float,
        granted: Callable[[Choice | Refusal], None],
        route: Route | None = None,
    ) -> Choice | Refusal | Waiting:
        if self.queueing:
            self.queue.append(Queued(granted))
            return self.queue[-1]
        return self.pick(model, 0)

    def again(self, ask: Ask, failed: Choice, now: float) -> Choice | Refusal:
        backends = failed.model.versions[0].backends
        return self.pick(failed.model, backends.index(failed.backend) + 1)

    def named(self, name: str, caller: Caller) -> ModelSpec | None:
        return self.models.get(name) if caller.models is None or name in caller.models else None

    def names(self, caller: Caller) -> list[str]:
        return sorted(self.models)

    def cache(self, model: ModelSpec) -> Cache | None:
        return self.caches.get(model.name)

    def route(self, ask: Ask, caller: Caller, model: ModelSpec) -> Route | Refusal:
        return Way(model.versions[0].name)

    def hedge_after(self, choice: Choice) -> float | None:
        return self.hedge_s

    def hedge(self, ask: Ask, first: Choice, now: float) -> Choice | None:
        other = self.again(ask, first, now)
        return None if isinstance(other, Refusal) else other

    def mirror(self, ask: Ask, choice: Choice, now: float) -> Choice | None:
        spec = choice.model.mirror
        for version in choice.model.versions:
            if spec is not None and version.name == spec.version:
                self.choices.append(Chosen(choice.model, version.name, version.backends[0]))
                return self.choices[-1]
        return None

    def pick(self, model: ModelSpec, number: int) -> Chosen | Refusal:
        """Return a choice of one backend."""
        backends = model.versions[0].backends if model.versions else ()
        if number >= len(backends):
            return Refusal(RefusalKind.NO_CAPACITY, "no backend can be used")
        self.choices.append(Chosen(model, model.versions[0].name, backends[number]))
        self.choices[-1].degraded_from = self.degraded_from
        return self.choices[-1]


@dataclass
class Recorder:
    """Keeps all records."""

    records: list[UsageRecord] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    open: int = 0
    pauses: int = 0

    def began(self, model: str, version: str, backend: str) -> None:
        self.open += 1

    def gaps(self, model: str, version: str) -> Callable[[float], None]:
        return lambda seconds: self.gap(model, version, seconds)

    def gap(self, model: str, version: str, seconds: float) -> None:
        self.pauses += 1

    def ended(self, record: UsageRecord, *, opened: bool) -> None:
        self.open -= opened
        self.records.append(record)

    def retried(self, model: str, version: str, backend: str, why: str) -> None:
        self.open -= 1
        self.retries.append(why)


@dataclass
class Counters:
    """Keeps the numbers beside requests."""

    clients: int = 0
    hedges: int = 0
    mirrors: list[Outcome] = field(default_factory=list)
    mirrored_answers: list[tuple[str, Content, TokenCounts, bool]] = field(default_factory=list)
    """(version, facts, tokens, whether it was a stream) of each copy's answer."""
    lookups: list[bool] = field(default_factory=list)

    def connections(self, change: int) -> None:
        self.clients += change

    def waiting(self, model: str, change: int) -> None:
        pass

    def ejected(self, model: str, version: str, backend: str, *, out: bool) -> None:
        pass

    def hedged(self, model: str, version: str) -> None:
        self.hedges += 1

    def mirrored(self, model: str, version: str, outcome: Outcome) -> None:
        self.mirrors.append(outcome)

    def mirrored_answer(
        self, model: str, version: str, content: Content, counts: TokenCounts, first_s: float | None, duration_s: float
    ) -> None:
        assert 0 <= (first_s or 0.0) <= duration_s
        self.mirrored_answers.append((version, content, counts, first_s is not None))

    def cached(self, model: str, *, hit: bool) -> None:
        self.lookups.append(hit)
