"""Refusals and broken streams have the shape that each API's clients read."""

from __future__ import annotations

import orjson
import pytest

from controlplane.gateway.refusal import Refusal, RefusalKind
from tests.fakes.gateway_requests import DIALECTS, head, operation

OPENAI, ANTHROPIC = operation("POST", "/v1/chat/completions"), operation("POST", "/v1/messages")
OLLAMA, TRITON = operation("POST", "/api/chat"), operation("POST", "/v2/models/m/infer")
LIMITED = Refusal(
    RefusalKind.RATE_LIMITED, "Too many.", retry_after_s=0.25, fields=((b"x-ratelimit-limit-requests", b"5"),)
)


def test_openais_error_is_nested() -> None:
    status, fields, body = DIALECTS.refuse(OPENAI, LIMITED, "req-1")
    assert status == 429
    assert orjson.loads(body) == {
        "error": {
            "message": "Too many.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
            "request_id": "req-1",
        }
    }
    assert dict(fields) == {
        b"content-type": b"application/json",
        b"x-request-id": b"req-1",
        b"x-should-retry": b"true",
        b"retry-after": b"1",
        b"retry-after-ms": b"250",
        b"x-ratelimit-limit-requests": b"5",
    }


def test_an_unknown_path_is_refused_in_openais_shape() -> None:
    assert DIALECTS.refuse(None, LIMITED, "r")[2] == DIALECTS.refuse(OPENAI, LIMITED, "r")[2]


@pytest.mark.parametrize(
    ("path", "text"), [("/v2/repository/index", True), ("/api/pull", True), ("/v1/messages/x", False), ("/x", False)]
)
def test_a_refused_path_has_the_shape_of_its_clients(path: str, text: bool) -> None:
    refusal = DIALECTS.recognise(head("POST", path))
    assert isinstance(refusal, Refusal)
    error = orjson.loads(DIALECTS.refuse(None, refusal, "r")[2])
    assert isinstance(error["error"], str if text else dict)
    assert (error.get("type") == "error") == path.startswith("/v1/messages")


def test_anthropics_error_has_a_type_and_its_own_request_id() -> None:
    _, fields, body = DIALECTS.refuse(ANTHROPIC, LIMITED, "req-1")
    assert orjson.loads(body) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Too many."},
        "request_id": "req-1",
    }
    assert (b"request-id", b"req-1") in fields


@pytest.mark.parametrize("api", [OLLAMA, TRITON])
def test_ollamas_and_tritons_error_is_text(api: object) -> None:
    assert orjson.loads(DIALECTS.refuse(api, LIMITED, "r")[2]) == {"error": "Too many. (request r)"}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(RefusalKind))
@pytest.mark.parametrize("api", [None, OPENAI, ANTHROPIC, OLLAMA, TRITON])
def test_every_refusal_says_whether_a_retry_helps(kind: RefusalKind, api: object) -> None:
    status, listed, body = DIALECTS.refuse(api, Refusal(kind, "Why."), "r")  # type: ignore[arg-type]
    fields = dict(listed)
    assert status == kind.status and b"Why." in body
    assert len(listed) == len(fields)
    assert fields[b"x-should-retry"] == (b"true" if kind.retry else b"false")
    assert (b"retry-after" in fields) == (kind.retry and status in (429, 503))
    assert fields.get(b"www-authenticate") == (b"Bearer" if status == 401 else None)


@pytest.mark.parametrize(
    ("seconds", "whole", "exact"),
    [(0.0, b"1", b"1"), (0.0004, b"1", b"1"), (1.2, b"2", b"1200"), (90, b"90", b"90000")],
)
def test_the_wait_is_a_whole_number_of_at_least_one(seconds: float, whole: bytes, exact: bytes) -> None:
    _, fields, _ = DIALECTS.refuse(OPENAI, Refusal(RefusalKind.OVERLOADED, "m", retry_after_s=seconds), "r")
    assert dict(fields)[b"retry-after"] == whole and dict(fields)[b"retry-after-ms"] == exact


def test_a_spent_budget_is_no_rate_limit() -> None:
    _, fields, body = DIALECTS.refuse(OPENAI, Refusal(RefusalKind.BUDGET_SPENT, "m", retry_after_s=3600), "r")
    error = orjson.loads(body)["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert dict(fields)[b"x-should-retry"] == b"false" and dict(fields)[b"retry-after"] == b"3600"


def test_param_and_code_are_passed() -> None:
    _, _, body = DIALECTS.refuse(OPENAI, Refusal(RefusalKind.UNKNOWN_MODEL, "m", "model", "gone"), "r")
    error = orjson.loads(body)["error"]
    assert (error["param"], error["code"], error["type"]) == ("model", "gone", "not_found_error")


@pytest.mark.parametrize(
    ("method", "path", "begin", "error"),
    [
        ("POST", "/v1/chat/completions", b"data: ", "nested"),
        ("POST", "/v1/responses", b"event: error\ndata: ", "nested"),
        ("POST", "/v1/messages", b"event: error\ndata: ", "anthropic"),
        ("POST", "/v2/models/m/generate_stream", b"data: ", "text"),
        ("POST", "/api/chat", b"", "text"),
        ("POST", "/generate", b"data: ", "nested"),
    ],
)
def test_a_broken_stream_says_so_and_never_looks_finished(method: str, path: str, begin: bytes, error: str) -> None:
    event = DIALECTS.broken(operation(method, path, x_model="m"), "The engine died.", "req-1")
    assert event.startswith(begin) and event.endswith(b"\n" if path == "/api/chat" else b"\n\n")
    assert event.count(b"\n\n") <= 1 and b"[DONE]" not in event and b"req-1" in event
    document = orjson.loads(event.removeprefix(begin))
    if error == "nested":
        assert document["error"]["message"] == "The engine died."
    elif error == "anthropic":
        assert document["type"] == "error" and document["error"]["message"] == "The engine died."
    else:
        assert document == {"error": "The engine died. (request req-1)"}


def test_one_body_has_no_event() -> None:
    assert DIALECTS.broken(operation("POST", "/v1/embeddings"), "m", "r") == b""
