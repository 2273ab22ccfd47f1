"""Make an Ask of a request: who it is for, how long its answer may get, and what keeps it with other requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from controlplane.gateway.dialects import json_scan, triton_path
from controlplane.gateway.dialects.asking import form, json_body, media
from controlplane.gateway.dialects.errors import Unreadable
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, ModelPlace, Operation, RequestHead

SESSION_FIELDS = (b"x-session-id", b"x-claude-code-session-id", b"session_id", b"x-opencode-session")
"""Header fields that name a session, first one first: any client, Claude Code, Codex, opencode."""
_NAMING = frozenset((*SESSION_FIELDS, b"x-version"))
LONGEST_NAME = 256
"""Most bytes of a model's name, a version's name or a session key. Chosen."""
PREFIX = 1024
"""Bytes of the prompt that are hashed for prefix affinity: some 256 tokens of four bytes each."""
MAX_JSON_OF_TENSORS = 64 * 2**10
"""Bytes of the longest JSON part of an inference request in which `sequence_id` is looked for."""
COUNTED_INPUTS = frozenset(("embedding", "rerank", "score", "classify", "pooling"))
"""Operations whose inputs are counted."""
WITHOUT_ANSWER = COUNTED_INPUTS | {"speech"}
"""Operations whose answers have no tokens: only their prompts count."""
_ANY_PROMPT = (b'"instructions":', b'"messages":', b'"prompt":', b'"input":', b'"text_input":')
_PROMPTS = {"anthropic": (b'"system":', b'"messages":'), "ollama": (b'"system":', b'"messages":', b'"prompt":')}
"""Members in which a prompt begins, as clients write them. Anthropic's system prompt comes before its messages."""
_ASSISTANT = b'"assistant"'
_TRUE = frozenset(("true", "1", "yes", "on", "t", "y"))
"""Words for true of pydantic, which most engines read a body with."""


def ask(operation: Operation, head: RequestHead, body: bytes) -> Ask | Refusal:
    """Return what a request asks, or a refusal that says what is wrong with it."""
    found = Ask(operation, "", stream=operation.always_streams, prompt_bytes=media.text_bytes(body))
    if not _NAMING.isdisjoint(head.known):
        found.version = _text(head.get(b"x-version"))
        found.session = _session(head)
    try:
        refusal = _READERS[operation.place](found, head, body)
    except Unreadable as error:
        return _malformed(f"The request was not read: {error}.")
    if refusal is not None:
        return refusal
    if not found.model:
        return _malformed(_NAMELESS[operation.place], "model")
    if len(found.model) > LONGEST_NAME:
        return _malformed(f"The name of the model is longer than {LONGEST_NAME} characters.", "model")
    return found


def _read_json(found: Ask, head: RequestHead, body: bytes) -> Refusal | None:
    if b"content-encoding" in head.known and head.known[b"content-encoding"].strip().lower() not in (b"identity", b""):
        return _malformed("The body is compressed. Send it without Content-Encoding: the gateway reads its model.")
    members = json_body.read(body, counted=found.operation.name in COUNTED_INPUTS)
    if members.model is not None and not isinstance(members.model, str):
        return _malformed('"model" is no string.', "model")
    found.model = members.model or _text(head.get(b"x-model"))
    _fill(found, members, body)
    return None


def _read_path(found: Ask, head: RequestHead, body: bytes) -> Refusal | None:
    place = triton_path.split(head.path)
    assert place is not None, "recognise() saw a model in the path"
    found.model = place.model
    found.version = place.version or found.version
    length = head.get(b"inference-header-content-length")
    compressed = bool(head.get(b"content-encoding"))
    if length and not compressed and not (length.isdigit() and len(length) < 12 and int(length) <= len(body)):
        return _malformed("Inference-Header-Content-Length is no number of bytes within the body.")
    if found.operation.name == "generate":
        return _read_generate(found, head, body)
    described = body[: int(length)] if length and not compressed else body
    if b'"sequence_id"' in described[:MAX_JSON_OF_TENSORS] and len(described) <= MAX_JSON_OF_TENSORS:
        _keep_sequence(found, described)
    return None


def _read_generate(found: Ask, head: RequestHead, body: bytes) -> Refusal | None:
    if head.get(b"content-encoding"):
        return None
    _fill(found, json_body.read(body), body)
    found.stream = found.operation.always_streams
    return None


def _keep_sequence(found: Ask, described: bytes) -> None:
    """Keep the requests of a sequence together: a sequence's state is in one engine."""
    try:
        parameters = _mapping(json_body.read(described).parameters)
    except Unreadable:
        return
    if not found.session and (sequence := parameters.get("sequence_id")):
        found.session = f"sequence {sequence}"[:LONGEST_NAME]


def _read_form(found: Ask, head: RequestHead, body: bytes) -> Refusal | None:
    fields = form.parts(body, head.get(b"content-type"))
    found.model = form.field(body, fields, b"model").strip() or _text(head.get(b"x-model"))
    found.stream = form.field(body, fields, b"stream").strip().lower() in _TRUE
    found.prompt_bytes = sum(part.end - part.start for part in fields if not part.is_file)
    return None


def _read_header(found: Ask, head: RequestHead, body: bytes) -> Refusal | None:
    """Read another path of an engine. Its body belongs to the engine: one that cannot be read is passed on, unless it
    may name another model than the header."""
    found.model = _text(head.get(b"x-model"))
    if found.operation.listed:
        found.listed_path = head.path.decode("ascii")
    if json_scan.begins_object(body) and not head.get(b"content-encoding"):
        try:
            _fill(found, json_body.read(body), body)
        except Unreadable:
            if json_body.names_model(body):
                raise
    return None


def _read_nothing(found: Ask, head: RequestHead, body: bytes) -> Refusal | None:
    return None


_READERS = {
    ModelPlace.BODY: _read_json,
    ModelPlace.PATH: _read_path,
    ModelPlace.FORM: _read_form,
    ModelPlace.HEADER: _read_header,
    ModelPlace.NONE: _read_nothing,
}
_NAMELESS = {
    ModelPlace.BODY: 'The request names no model. Set "model" in the body.',
    ModelPlace.PATH: "The path names no model.",
    ModelPlace.FORM: "The form names no model. Add the field model.",
    ModelPlace.HEADER: "The request names no model. Set the header x-model.",
    ModelPlace.NONE: "This path is the gateway's own: it has no model.",
}


def _fill(found: Ask, members: json_body.Members, body: bytes) -> None:
    operation = found.operation
    found.stream = operation.always_streams or _flag(members.stream, operation.streams_by_default)
    if members.stream_options is not None:
        found.wants_usage = _mapping(members.stream_options).get("include_usage") is True
    answers = 1
    if members.n is not None or members.best_of is not None:
        answers = max(_count(members.n) or 1, _count(members.best_of) or 1)
    limit = _max_tokens(members)
    found.max_tokens = None if limit is None else limit * answers
    temperature = members.temperature
    if temperature is None and members.options is not None:
        temperature = _mapping(members.options).get("temperature")
    found.deterministic = temperature == 0 and answers == 1 and not isinstance(temperature, bool)
    found.session = found.session or _body_session(members)
    found.prefix = prefix(body, _PROMPTS.get(operation.dialect, _ANY_PROMPT))
    found.continued = bool(members.previous_response_id or members.conversation) or _ASSISTANT in body
    if operation.name in WITHOUT_ANSWER:
        found.inputs, found.max_tokens = members.inputs(), 0


def prefix(body: bytes, begins: Sequence[bytes]) -> int:
    """Return a hash of the beginning of the prompt, never 0, or 0 when the body has no prompt."""
    for begin in begins:
        at = body.find(begin)
        if at >= 0:
            return crc32(body[at : at + PREFIX]) or 1
    return 0


def _max_tokens(members: json_body.Members) -> int | None:
    for given in (members.max_completion_tokens, members.max_tokens, members.max_output_tokens):
        if given is not None and (limit := _count(given)) is not None:
            return limit
    for settings, name in (
        (members.options, "num_predict"),
        (members.parameters, "max_new_tokens"),
        (members.sampling_params, "max_new_tokens"),
    ):
        if settings is not None and (limit := _count(_mapping(settings).get(name))) is not None:
            return limit
    return None


def _session(head: RequestHead) -> str:
    for name in SESSION_FIELDS:
        if found := head.get(name):
            return _text(found)
    return ""


def _body_session(members: json_body.Members) -> str:
    if members.prompt_cache_key is None and members.user is None and members.metadata is None:
        return ""
    for key in (members.prompt_cache_key, members.user, _mapping(members.metadata).get("user_id")):
        if isinstance(key, str) and key:
            return key[:LONGEST_NAME]
    return ""


def _flag(value: object, default: bool) -> bool:
    if isinstance(value, bool):
        return value
    return default if value is None else str(value).lower() in _TRUE


def _count(value: object) -> int | None:
    """Return a count of tokens or answers. Engines take -1 for "no limit": that is None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()[:LONGEST_NAME]


def _malformed(message: str, param: str = "") -> Refusal:
    return Refusal(RefusalKind.MALFORMED, message, param)
