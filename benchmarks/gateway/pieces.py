"""Microseconds that the gateway's dialects take: a piece of a stream, an answer, a request's body. Run it by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from controlplane.gateway.desired.document import BackendSpec
from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Operation, RequestHead

DIALECTS = AllDialects()
PIECES = {
    "chat, vLLM": (
        "/v1/chat/completions",
        b'data: {"id":"chatcmpl-9df5d95b4bb594c5","object":"chat.completion.chunk","created":1795750907,"model":"chat",'
        b'"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}\n\n',
    ),
    "chat with usage in each chunk": (
        "/v1/chat/completions",
        b'data: {"id":"chatcmpl-9df5d95b4bb594c5","object":"chat.completion.chunk","created":1795750907,"model":"chat",'
        b'"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],'
        b'"usage":{"prompt_tokens":18,"total_tokens":22,"completion_tokens":4}}\n\n',
    ),
    "responses": (
        "/v1/responses",
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        b'"item_id":"msg_1","delta":"x"}\n\n',
    ),
    "messages": (
        "/v1/messages",
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"x"}}\n\n',
    ),
    "ollama": (
        "/api/chat",
        b'{"model":"m","created_at":"2026-11-27T00:00:00Z","message":{"role":"assistant","content":"x"},"done":false}\n',
    ),
    "triton": (
        "/v2/models/m/generate_stream",
        b'data: {"model_name":"llm","model_version":"1","text_output":"x"}\n\n',
    ),
}


def main() -> None:
    """Print the costs."""
    for name, (path, piece) in PIECES.items():
        ask = Ask(_operation(path), "m", stream=True)
        kind = b"application/x-ndjson" if path.startswith("/api") else b"text/event-stream"
        reader = DIALECTS.reader(ask, 200, [(b"content-type", kind)])
        print(f"{_microseconds(partial(reader.feed, piece), 200_000):8.2f} µs a piece   {name}")
    _answers()
    for size in (200, 7_000, 70_000, 700_000):
        body = _chat(size)
        head = _head("/v1/chat/completions")
        operation = _operation("/v1/chat/completions")
        asked = DIALECTS.read(operation, head, body)
        assert isinstance(asked, Ask)
        backend = BackendSpec("http://engine:8000", "vllm", "served")
        read = _microseconds(partial(DIALECTS.read, operation, head, body), 20_000_000 // (size + 2000))
        sent = _microseconds(partial(DIALECTS.outgoing, asked, head, body, backend), 20_000_000 // (size + 2000))
        print(f"{read:8.1f} µs to read, {sent:8.1f} µs to rewrite a chat of {len(body):,} bytes")


def _answers() -> None:
    """Print the costs of whole answers: reading to the end, with tokens, faults and content."""
    ask = Ask(_operation("/v1/chat/completions"), "m", prompt_bytes=100)
    for size in (100, 2_000, 20_000):
        body = _answer(size)

        def read(body: bytes = body) -> None:
            reader = DIALECTS.reader(ask, 200, [(b"content-type", b"application/json")])
            reader.feed(body)
            reader.end()
            _ = reader.counts

        print(
            f"{_microseconds(read, 50_000_000 // (size + 2000)):8.2f} µs to read a whole answer of {len(body):,} bytes"
        )


def _answer(size: int) -> bytes:
    message: dict[str, object]
    message = {"role": "assistant", "content": "x" * size, "refusal": None, "tool_calls": [], "reasoning_content": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    usage = {"prompt_tokens": 18, "total_tokens": 22, "completion_tokens": 4, "prompt_tokens_details": None}
    return json.dumps({"id": "c-1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def _chat(size: int) -> bytes:
    turn = 'The quick brown fox says "hello" and jumps over the lazy dog.\n' * 10
    messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": turn} for i in range(size // 700 + 1)]
    return json.dumps({"messages": messages, "model": "chat", "stream": True, "max_tokens": 100})[:].encode()


def _head(path: str) -> RequestHead:
    return RequestHead(b"POST", path.encode(), path.encode(), [], None, False, True)


def _operation(path: str) -> Operation:
    found = DIALECTS.recognise(_head(path))
    assert not isinstance(found, Refusal)
    return found


def _microseconds(call: Callable[[], object], times: int) -> float:
    """Return the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(max(times // 5, 1)):
            call()
        best = min(best, (time.perf_counter() - start) / max(times // 5, 1))
    return best * 1e6


if __name__ == "__main__":
    main()
