"""Refusals and broken streams in the shape of each API, so that its clients raise the error that they document."""

from __future__ import annotations

import math

import orjson

from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Fields, Frames, Operation

DEFAULT_RETRY_S = 1.0
"""Seconds of Retry-After when a retry helps and nobody knows when: the least that the field can say."""
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_CODES = {
    RefusalKind.MALFORMED: "invalid_request",
    RefusalKind.UNAUTHENTICATED: "invalid_api_key",
    RefusalKind.UNKNOWN_MODEL: "model_not_found",
    RefusalKind.RATE_LIMITED: "rate_limit_exceeded",
    RefusalKind.BUDGET_SPENT: "insufficient_quota",
}
"""OpenAI's words where it has one. The kind's own word otherwise."""


def refuse(operation: Operation | None, refusal: Refusal, request_id: str) -> tuple[int, Fields, bytes]:
    """Return (status, fields, body) of a refusal. The fields have no Content-Length."""
    kind, dialect = refusal.kind, operation.dialect if operation else refusal.dialect
    fields: Fields = [
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id.encode()),
        (b"x-should-retry", b"true" if kind.retry else b"false"),
    ]
    if dialect == "anthropic":
        fields.append((b"request-id", request_id.encode()))
    if kind is RefusalKind.UNAUTHENTICATED:
        fields.append((b"www-authenticate", b"Bearer"))
    return kind.status, [*fields, *_retry_after(refusal), *refusal.fields], _body(dialect, refusal, request_id)


def broken(operation: Operation, message: str, request_id: str = "") -> bytes:
    """Return the event that says in the middle of a stream that the answer broke off; b"" when the API has none."""
    if operation.frames is Frames.NONE:
        return b""
    if operation.dialect == "ollama":
        return orjson.dumps({"error": _with_id(message, request_id)}) + b"\n"
    if operation.dialect == "triton":
        return b"data: " + orjson.dumps({"error": _with_id(message, request_id)}) + b"\n\n"
    if operation.dialect == "anthropic":
        error = {"type": "error", "error": {"type": "api_error", "message": message}, **_id(request_id)}
        return b"event: error\ndata: " + orjson.dumps(error) + b"\n\n"
    nested = {"message": message, "type": "server_error", "param": None, "code": "upstream_failed", **_id(request_id)}
    if operation.name == "response":
        flat = {"type": "error", "code": "upstream_failed", "message": message, "param": None}
        return b"event: error\ndata: " + orjson.dumps({**flat, "error": nested}) + b"\n\n"
    return b"data: " + orjson.dumps({"error": nested}) + b"\n\n"


def _body(dialect: str, refusal: Refusal, request_id: str) -> bytes:
    status = refusal.kind.status
    if dialect in ("ollama", "triton"):
        return orjson.dumps({"error": _with_id(refusal.message, request_id)})
    if dialect == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return orjson.dumps(
            {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": request_id}
        )
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    if refusal.kind is RefusalKind.BUDGET_SPENT:
        kind = "insufficient_quota"
    code = refusal.code or _CODES.get(refusal.kind, refusal.kind.word)
    error = {"message": refusal.message, "type": kind, "param": refusal.param or None, "code": code}
    return orjson.dumps({"error": {**error, "request_id": request_id}})


def _retry_after(refusal: Refusal) -> Fields:
    seconds = refusal.retry_after_s
    if seconds is None and refusal.kind.retry and refusal.kind.status in (429, 503):
        return [(b"retry-after", b"%d" % DEFAULT_RETRY_S)]
    if seconds is None:
        return []
    whole = max(math.ceil(seconds), 1)
    return [(b"retry-after", b"%d" % whole), (b"retry-after-ms", b"%d" % max(math.ceil(seconds * 1000), 1))]


def _with_id(message: str, request_id: str) -> str:
    return f"{message} (request {request_id})" if request_id else message


def _id(request_id: str) -> dict[str, str]:
    return {"request_id": request_id} if request_id else {}
