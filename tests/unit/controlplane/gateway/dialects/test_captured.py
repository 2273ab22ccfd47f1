"""What real engines answered is read right: see tests/fixtures/answers/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.gateway.request import Ask, Fields, TokenCounts
from tests.fakes.gateway_requests import DIALECTS, operation

ANSWERS = Path("tests/fixtures/answers")
PATHS = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
    "tokenize": "/v1/tokenize",
    "count-tokens": "/v1/messages/count_tokens",
}
NONE = TokenCounts(0, 0)
"""An answer that is an error."""
EXPECTED = {
    # name: events with content, tokens, beginning of the fault
    "fastchat-0.2.36/bad-json": (0, NONE, "[{'type': 'json_invalid'"),
    "fastchat-0.2.36/chat": (0, TokenCounts(1999, 7), ""),
    "fastchat-0.2.36/chat-stream": (5, TokenCounts(1, 5, estimated=True), ""),
    "fastchat-0.2.36/chat-stream-usage": (2, TokenCounts(1, 2, estimated=True), ""),
    "fastchat-0.2.36/completion": (0, TokenCounts(5, 7), ""),
    "fastchat-0.2.36/completion-stream": (5, TokenCounts(1, 5, estimated=True), ""),
    "fastchat-0.2.36/count-tokens": (0, NONE, "Not Found"),
    "fastchat-0.2.36/embeddings": (0, TokenCounts(5, 0), ""),
    "fastchat-0.2.36/messages": (0, NONE, "Not Found"),
    "fastchat-0.2.36/messages-stream": (0, NONE, "Not Found"),
    "fastchat-0.2.36/no-messages": (0, TokenCounts(1981, 65), ""),
    "fastchat-0.2.36/responses": (0, NONE, "Not Found"),
    "fastchat-0.2.36/responses-stream": (0, NONE, "Not Found"),
    "fastchat-0.2.36/tokenize": (0, NONE, "Not Found"),
    "fastchat-0.2.36/too-long": (0, TokenCounts(1998, 48), ""),
    "fastchat-0.2.36/unknown-model": (0, NONE, "Only chat-v1&&chat allowed now, your model nope"),
    "vllm-0.32-cpu/bad-json": (0, NONE, "1 validation error"),
    "vllm-0.32-cpu/chat": (0, TokenCounts(21, 8, 0), ""),
    "vllm-0.32-cpu/chat-stream": (7, TokenCounts(1, 7, estimated=True), ""),
    "vllm-0.32-cpu/chat-stream-usage": (8, TokenCounts(21, 8, 0), ""),
    "vllm-0.32-cpu/completion": (0, TokenCounts(5, 8, 0), ""),
    "vllm-0.32-cpu/completion-stream": (7, TokenCounts(5, 8, 0), ""),
    "vllm-0.32-cpu/count-tokens": (0, TokenCounts(), ""),
    "vllm-0.32-cpu/embeddings": (0, NONE, "Not Found"),
    "vllm-0.32-cpu/messages": (0, TokenCounts(21, 8, 0), ""),
    "vllm-0.32-cpu/messages-stream": (4, TokenCounts(21, 8, 0), ""),
    "vllm-0.32-cpu/no-messages": (0, NONE, "Cannot apply chat template"),
    "vllm-0.32-cpu/responses": (0, TokenCounts(21, 8, 0), ""),
    "vllm-0.32-cpu/responses-stream": (2, TokenCounts(21, 8, 0), ""),
    "vllm-0.32-cpu/tokenize": (0, TokenCounts(), ""),
    "vllm-0.32-cpu/too-long": (0, NONE, "max_tokens=100000 cannot be greater"),
    "vllm-0.32-cpu/unknown-model": (0, NONE, "The model `nope` does not exist"),
}
"""FastChat has no usage in streams: events are counted. vLLM's last chunk, with the reason of the end, may have a token
of its own."""


STOPPED = "vllm-0.32-cpu/chat-stream-sigterm"
"""A stream of a vLLM that got SIGTERM: finish_reason "abort", then [DONE], under status 200."""


def load(file: Path) -> tuple[int, Fields, bytes]:
    """Return (status, fields, body) of an answer as it was on the wire."""
    head, _, body = file.read_bytes().partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    if (b"transfer-encoding", b"chunked") in fields:
        body = dechunked(body)
    return int(status.split()[1]), fields, body


def dechunked(body: bytes) -> bytes:
    """Return the content of a chunked body."""
    content = b""
    while (size := int(body[: body.index(b"\r\n")], 16)) > 0:
        start = body.index(b"\r\n") + 2
        content += body[start : start + size]
        body = body[start + size + 2 :]
    return content


def test_every_capture_has_an_expectation() -> None:
    captured = {f"{file.parent.name}/{file.stem}" for file in ANSWERS.rglob("*.http")}
    assert {name for name in captured if not name.endswith("/models")} == {*EXPECTED, STOPPED}


@pytest.mark.parametrize("size", [1, 60, 1_000_000])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_answer_is_read(name: str, size: int) -> None:
    status, fields, body = load(ANSWERS / f"{name}.http")
    kind = name.partition("/")[2].removesuffix("-usage")
    path = PATHS.get(kind.removesuffix("-stream"), PATHS["chat"])
    ask = Ask(operation("POST", path), "chat", stream=kind.endswith("-stream"), wants_usage=True)
    reader = DIALECTS.reader(ask, status, fields)
    assert reader.first(body) is True
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(map(reader.feed, pieces)) + reader.end() == body
    events, counts, fault = EXPECTED[name]
    assert (reader.events, reader.counts, reader.whole) == (events, counts, True)
    assert reader.fault.startswith(fault) and bool(reader.fault) == bool(fault)


def test_the_gateways_wish_for_usage_leaves_no_trace() -> None:
    _, fields, body = load(ANSWERS / "vllm-0.32-cpu/chat-stream-usage.http")
    reader = DIALECTS.reader(Ask(operation("POST", PATHS["chat"]), "chat", stream=True), 200, fields)
    seen = reader.feed(body) + reader.end()
    assert b'"choices":[]' in body and b'"choices":[]' not in seen
    assert seen.count(b"\n\n") == body.count(b"\n\n") - 1 and reader.counts == TokenCounts(21, 8, 0)


@pytest.mark.parametrize("size", [1, 60, 1_000_000])
def test_a_stopped_engines_end_is_an_error(size: int) -> None:
    _, fields, body = load(ANSWERS / f"{STOPPED}.http")
    reader = DIALECTS.reader(Ask(operation("POST", PATHS["chat"]), "chat", stream=True), 200, fields)
    assert reader.first(body) is True and b"[DONE]" in body
    seen = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size)) + reader.end()
    assert b"[DONE]" not in seen and b'"error":{"message":"The engine aborted the request"' in seen
    assert reader.fault == "The engine aborted the request" and not reader.whole and reader.events > 0
