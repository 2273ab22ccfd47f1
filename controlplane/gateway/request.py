"""The values of one request: its head, its operation, what it asks, who asks. No I/O, no imports of the project."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

Fields = list[tuple[bytes, bytes]]
"""Header fields in the order of the wire. Names are lower case."""


class HeadFacts:
    """Results of stages that depend on a head alone, for the next request of the connection with the same head."""

    __slots__ = ("caller", "expires_at", "keys", "lines", "operation", "places")

    def __init__(self) -> None:
        self.operation: Operation | None = None
        self.keys: object = None
        """The keys that know `caller`."""
        self.caller: Caller | None = None
        self.expires_at = math.inf
        """Unix seconds."""
        self.lines: bytes | None = None
        """The fields that pass to an engine whose answer is read, without those whose values may differ."""
        self.places: tuple[int, ...] = ()
        """Numbers of the fields whose values may differ, and which pass."""


@dataclass(slots=True)
class RequestHead:
    """A request's head, parsed and guarded: one Host, no repeated Content-Length, no Content-Length beside chunked."""

    method: bytes
    target: bytes
    """Path and query as sent."""
    path: bytes
    """`target` without its query. Not decoded."""
    fields: Fields
    content_length: int | None
    """None: no body, or a chunked one."""
    chunked: bool
    keep_alive: bool
    known: dict[bytes, bytes] = field(default_factory=dict)
    """Value by name. A repeated name has the first value."""
    minor: int = 1
    """Version of HTTP: 1 for HTTP/1.1, 0 for HTTP/1.0, whose answers are not chunked."""
    facts: HeadFacts | None = None
    """None: the connection has not sent the head before."""

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """Return the first value of a header field. `name` is lower case."""
        return self.known.get(name, default)


class Frames(StrEnum):
    """Framing of the events in an engine's answer."""

    NONE = "none"
    """One body: JSON, audio, tensors."""
    SSE = "sse"
    NDJSON = "ndjson"


class ModelPlace(StrEnum):
    """Where a request names its model."""

    BODY = "body"
    """`model` of a JSON object."""
    PATH = "path"
    """A segment of the path: `/v2/models/NAME/…`."""
    FORM = "form"
    """The part `model` of a multipart form, which may come last."""
    HEADER = "header"
    """`x-model`."""
    NONE = "none"
    """The request concerns no model, such as a list of models."""


_WRITING = frozenset(("chat", "completion", "response", "generate"))


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an API, such as OpenAI's chat completions. The dialects make one constant of each."""

    dialect: str
    """openai, anthropic, ollama, triton, or plain (another path of an engine, whose model `x-model` names)."""
    name: str
    """Word in metrics and records: chat, completion, response, embedding, infer, generate, tokenize, …"""
    place: ModelPlace
    frames: Frames
    """Frames of a streamed answer. A request that does not stream gets one body."""
    always_streams: bool = False
    """Whether the answer streams whatever the body says (Triton's generate_stream)."""
    streams_by_default: bool = False
    """Whether a body without `stream` streams (Ollama)."""
    generates: bool = True
    """Whether tokens are counted, so that token limits, usage and time to first token apply. Embeddings count too."""
    local: bool = False
    """Whether the gateway answers by itself (lists of models)."""
    listed: bool = False
    """Whether the path passes only to a model that lists it (`ModelSpec.paths`)."""

    @property
    def writes(self) -> bool:
        """Whether an answer is one text, so that its end, its length and its emptiness say something."""
        return self.name in _WRITING


@dataclass(slots=True)
class Ask:
    """The content of a request, read from its head and body. Absent values are "", 0 or None."""

    operation: Operation
    model: str
    """Name that the client gave: a model or an alias of it."""
    stream: bool = False
    max_tokens: int | None = None
    """Most tokens of the answer. None: the request sets no limit."""
    prompt_bytes: int = 0
    """Bytes of text in the body, the basis of the estimate of prompt tokens. An image or sound counts as 4,000."""
    session: str = ""
    """Session key of the client: header fields first, then `prompt_cache_key`, then `user`."""
    prefix: int = 0
    """Hash of the beginning of the prompt, for prefix affinity. 0: none was taken."""
    version: str = ""
    """Version that a tester asks for by `x-version`."""
    wants_usage: bool = False
    """Whether the client itself asked for usage in the stream."""
    deterministic: bool = False
    """Temperature 0 and one answer, so that an equal request may be answered from the cache."""
    continued: bool = False
    """Whether the conversation has an assistant's turn: it is not degraded to another model."""
    listed_path: str = ""
    """The path, where the model must list it."""
    inputs: int = 1
    """Number of inputs of an embedding or rerank request."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. Without authentication there is one, with an empty key id and the tenant `anonymous`."""

    key_id: str
    tenant: str
    role: str = "user"
    """user, or tester: may choose a version by `x-version`."""
    models: frozenset[str] | None = None
    """Models that the key may ask. None: all."""
    priority: int = 0
    """Higher is served first. Below 0: shed first."""


class Outcome(StrEnum):
    """End of a request, as metrics and records name it."""

    OK = "ok"
    ERROR = "error"
    """The engine answered an error, or the gateway found no usable answer."""
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    """Refused for a limit, a full queue, or no capacity, before an engine worked on it."""
    CUT = "cut"
    """The answer broke off after its first byte was sent: the engine died, or a deadline of a drain passed."""
    ABORTED = "aborted"
    """The client left before the end."""
    INVALID = "invalid"
    """The request itself is wrong: malformed, unknown model, no or a wrong key. Never an error of the model."""


@dataclass(slots=True)
class TokenCounts:
    """Tokens of one request. None: not known, which is not zero."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    """Prompt tokens that came from the engine's prefix cache."""
    estimated: bool = False
    """Whether the numbers were estimated from bytes and events because the engine reported none."""


class Finish(StrEnum):
    """The reason of an answer's end, under one name for all APIs."""

    STOP = "stop"
    LENGTH = "length"
    """The answer reached its length limit: it is truncated."""
    CONTENT_FILTER = "content_filter"
    """A filter, or the model's own classifier (Anthropic's `refusal`), ended the answer."""
    TOOL_CALLS = "tool_calls"
    OTHER = "other"
    """A reason that is none of these."""
    NONE = "none"
    """The engine gave no reason."""


class Traffic(StrEnum):
    """The origin of a request, as the metrics of answers name it."""

    CLIENT = "client"
    MIRROR = "mirror"
    """A copy of a client's request. Its answer is thrown away."""


@dataclass(slots=True)
class Content:
    """Facts about the content of one answer. The content itself is not kept."""

    finish: Finish = Finish.NONE
    said: bool = False
    """Whether the answer has anything but white space: text, reasoning, a tool call or a refusal."""
    refused: bool = False
    """Whether a filter ended the answer, or the engine marked it as a refusal. Words are never interpreted."""
