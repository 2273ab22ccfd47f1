"""The paths of all APIs, and the operation of each. Other paths belong to an engine: `x-model` names their model."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from controlplane.config.names import engine_paths
from controlplane.gateway.dialects import triton_path
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Frames, ModelPlace, Operation, RequestHead


def _openai(
    name: str, frames: Frames = Frames.NONE, place: ModelPlace = ModelPlace.BODY, *, generates: bool = True
) -> Operation:
    return Operation("openai", name, place, frames, generates=generates)


def _own(dialect: str, name: str) -> Operation:
    return Operation(dialect, name, ModelPlace.NONE, Frames.NONE, generates=False, local=True)


def _triton(name: str, frames: Frames = Frames.NONE, *, generates: bool = False) -> Operation:
    streams = frames is Frames.SSE
    return Operation("triton", name, ModelPlace.PATH, frames, always_streams=streams, generates=generates)


_CLASSIFY, _SCORE, _RERANK = _openai("classify"), _openai("score"), _openai("rerank")
_TOKENIZE, _DETOKENIZE = _openai("tokenize", generates=False), _openai("detokenize", generates=False)
_POST: dict[bytes, Operation] = {
    b"/v1/chat/completions": _openai("chat", Frames.SSE),
    b"/v1/chat/completions/batch": _openai("chat_batch"),
    b"/v1/completions": _openai("completion", Frames.SSE),
    b"/v1/responses": _openai("response", Frames.SSE),
    b"/v1/embeddings": _openai("embedding"),
    b"/pooling": _openai("pooling"),
    b"/classify": _CLASSIFY,
    b"/v1/classify": _CLASSIFY,
    b"/score": _SCORE,
    b"/generative_scoring": _SCORE,
    b"/v1/score": _SCORE,
    b"/rerank": _RERANK,
    b"/v1/rerank": _RERANK,
    b"/v2/rerank": _RERANK,
    b"/tokenize": _TOKENIZE,
    b"/v1/tokenize": _TOKENIZE,
    b"/detokenize": _DETOKENIZE,
    b"/v1/detokenize": _DETOKENIZE,
    b"/v1/audio/transcriptions": _openai("transcription", Frames.SSE, ModelPlace.FORM),
    b"/v1/audio/translations": _openai("translation", Frames.SSE, ModelPlace.FORM),
    b"/v1/audio/speech": _openai("speech", Frames.SSE),
    b"/v1/messages": Operation("anthropic", "chat", ModelPlace.BODY, Frames.SSE),
    b"/v1/messages/count_tokens": Operation("anthropic", "tokenize", ModelPlace.BODY, Frames.NONE, generates=False),
    b"/api/chat": Operation("ollama", "chat", ModelPlace.BODY, Frames.NDJSON, streams_by_default=True),
    b"/api/generate": Operation("ollama", "completion", ModelPlace.BODY, Frames.NDJSON, streams_by_default=True),
    b"/api/embed": Operation("ollama", "embedding", ModelPlace.BODY, Frames.NONE),
    b"/api/embeddings": Operation("ollama", "embedding", ModelPlace.BODY, Frames.NONE),
    b"/api/show": Operation("ollama", "show", ModelPlace.BODY, Frames.NONE, generates=False),
}
_LOOKS = b"GET, HEAD"
_GET: dict[bytes, Operation] = {
    b"/": _own("ollama", "server"),
    b"/v1/models": _own("openai", "models"),
    b"/api/tags": _own("ollama", "models"),
    b"/api/ps": _own("ollama", "loaded"),
    b"/api/version": _own("ollama", "version"),
    b"/v2": _own("triton", "server"),
    b"/v2/": _own("triton", "server"),
    b"/v2/health/live": _own("triton", "health"),
    b"/v2/health/ready": _own("triton", "health"),
}
_OPENAI_MODEL = _own("openai", "model")
_ANTHROPIC_MODELS, _ANTHROPIC_MODEL = _own("anthropic", "models"), _own("anthropic", "model")
_TRITON_POST = {
    "infer": _triton("infer"),
    "generate": _triton("generate", generates=True),
    "generate_stream": _triton("generate", Frames.SSE, generates=True),
}
_TRITON_GET = {name: _triton(name or "metadata") for name in ("", "ready", "config", "stats")}
_PLAIN = Operation("plain", "plain", ModelPlace.HEADER, Frames.SSE)
_LISTED = replace(_PLAIN, listed=True)
_INFERENCE = frozenset(
    (
        # SGLang, TGI, SageMaker's and Vertex AI's contracts of a container
        *(b"/generate", b"/generate_stream", b"/encode", b"/invocations", b"/vertex_generate", b"/predict"),
        *(b"/parse_function_call", b"/separate_reasoning", b"/chat_tokenize"),
        # llama-server
        *(b"/completion", b"/completions", b"/chat/completions", b"/embedding", b"/embeddings", b"/infill"),
        *(b"/reranking", b"/v1/reranking", b"/apply-template"),
        # text-embeddings-inference, whisper.cpp
        *(b"/embed", b"/embed_all", b"/embed_sparse", b"/similarity", b"/inference"),
        # OpenAI's and Mistral's APIs, where an engine has more of them than the table above
        *(b"/v1/images/generations", b"/v1/images/edits", b"/v1/images/variations", b"/v1/moderations"),
        b"/v1/fim/completions",
    )
)
"""Paths of engines that only infer. Every other path of an engine passes only where its model lists it."""
_MODEL_PREFIX = b"/v1/models/"
_OWNED = (b"/api/", b"/v2/")
"""Below these every path is in the tables above. No header and no list lets another one pass."""
ADMINISTRATIVE = (
    "This path administers the engine, so it does not pass through the gateway. Call the engine's own address, or let "
    "the control plane do it."
)
_CLIENTS = ((b"/api/", "ollama"), (b"/v2/", "triton"), (b"/v1/messages", "anthropic"))
"""Begins of paths that only one API's clients ask."""
_AMBIGUOUS = re.compile(rb"//|/\.{1,2}(?:/|$)|[\\\x00-\x1f\x7f]")
"""Empty segments, dot segments, backslashes and control characters: servers and proxies read them differently."""
_HIDDEN_SLASH = re.compile(rb"(?i)%2f")


def recognise(head: RequestHead) -> Operation | Refusal:
    """Return the operation of a method and path, or a refusal."""
    facts = head.facts
    if facts is not None and facts.operation is not None:
        return facts.operation
    operation = _recognise(head)
    if facts is not None and isinstance(operation, Operation):
        facts.operation = operation
    return operation


def _recognise(head: RequestHead) -> Operation | Refusal:
    known = _exact(head.method, head.path)
    if known is None:
        return _other(head, unquote_to_bytes(head.path))
    if known.name == "models" and known.dialect == "openai" and head.get(b"anthropic-version"):
        return _ANTHROPIC_MODELS
    return known


def _exact(method: bytes, path: bytes) -> Operation | None:
    return _POST.get(path) if method == b"POST" else _GET.get(path) if method in (b"GET", b"HEAD") else None


def _other(head: RequestHead, path: bytes) -> Operation | Refusal:
    found = _slowly(head, path)
    if isinstance(found, Refusal):
        dialect = next((dialect for begin, dialect in _CLIENTS if path.startswith(begin)), "")
        return replace(found, dialect=dialect)
    return found


def _slowly(head: RequestHead, path: bytes) -> Operation | Refusal:
    if _AMBIGUOUS.search(path):
        return _unknown("The path has an empty segment, a dot segment or a control character. Write it without.")
    if head.path.startswith(_MODEL_PREFIX):
        return _of_method(head, b"GET", _ANTHROPIC_MODEL if head.get(b"anthropic-version") else _OPENAI_MODEL)
    parts = triton_path.split(head.path)
    if parts is not None:
        posted = _TRITON_POST.get(parts.verb)
        return _of_method(head, b"POST", posted) if posted else _of_method(head, b"GET", _TRITON_GET[parts.verb])
    if path in _POST:
        return _of_method(head, b"POST", _POST[path])
    if path in _GET:
        return _exact(head.method, path) or _bad_method(_LOOKS)
    if engine_paths.is_administrative(path):
        return Refusal(RefusalKind.FORBIDDEN, ADMINISTRATIVE, code="administrative_path")
    if path.startswith(_OWNED) or _HIDDEN_SLASH.search(head.path):
        return _unknown("The gateway does not serve this path.")
    return _plain(head)


def _plain(head: RequestHead) -> Operation | Refusal:
    if not head.get(b"x-model"):
        return _unknown(
            "The gateway does not know this path. To pass it to an engine, name a model in the header x-model."
        )
    if head.path in _INFERENCE:
        return _of_method(head, b"POST", _PLAIN)
    if not engine_paths.PLAIN.fullmatch(head.path):
        return _unknown("The gateway does not know this path. Write an engine's path without percent-encoding and `;`.")
    return _LISTED if head.method in (b"GET", b"POST") else _bad_method(b"GET, POST")


def _of_method(head: RequestHead, method: bytes, operation: Operation) -> Operation | Refusal:
    return operation if head.method == method else _bad_method(method)


def _bad_method(allowed: bytes) -> Refusal:
    message = f"The path takes {allowed.decode().replace(', ', ' or ')} only."
    return Refusal(RefusalKind.BAD_METHOD, message, fields=((b"allow", allowed),))


def _unknown(message: str) -> Refusal:
    return Refusal(RefusalKind.UNKNOWN_PATH, message)
