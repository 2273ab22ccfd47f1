"""Streams whose JSON has a space behind each colon, as Python's json.dumps writes: FastChat's, and others'."""

from __future__ import annotations

import json

import pytest

from controlplane.gateway.dialects.answers import framing
from controlplane.gateway.request import Ask, TokenCounts
from controlplane.gateway.seams import AnswerReader
from tests.fakes.gateway_requests import DIALECTS, operation

SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
DONE = b"data: [DONE]\n\n"


def event(delta: dict[str, str], finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **more}).encode() + b"\n\n"


ROLE, CONTENT, END = event({"role": "assistant", "content": ""}), event({"content": "x"}), event({}, "stop")
COUNTS = (
    b'data: {"id": "c", "choices": [], "usage": {"prompt_tokens": 9, "total_tokens": 59, "completion_tokens": 50}}\n\n'
)


def reader() -> AnswerReader:
    ask = Ask(operation("POST", "/v1/chat/completions"), "m", stream=True, wants_usage=True)
    return DIALECTS.reader(ask, 200, SSE)


def test_only_the_first_content_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = framing.parse

    def counting(text: bytes) -> dict[str, object] | None:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(framing, "parse", counting)
    found = reader()
    events = [ROLE, *[CONTENT] * 50, END, COUNTS, DONE]
    assert b"".join(map(found.feed, events)) + found.end() == b"".join(events)
    assert (found.events, found.whole, found.counts) == (50, True, TokenCounts(9, 50, None))
    assert len(parsed) == 4, "the role, the first content, the end and the usage"


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n',
        b'data: {"object": "error", "message": "The queue is full.", "code": 503}\n\n',
        b'data: {"text": "NETWORK ERROR", "error_code": 50001}\n\n',
        event({"content": "x"}, "abort"),
    ],
)
def test_an_error_behind_content_is_seen(error: bytes) -> None:
    found = reader()
    for piece in (CONTENT, CONTENT, error, DONE):
        found.feed(piece)
    assert found.fault and not found.whole


def test_usage_in_each_chunk_is_read() -> None:
    found = reader()
    usage = {"prompt_tokens": 9, "total_tokens": 11, "completion_tokens": 2}
    for piece in (CONTENT, event({"content": "x"}, usage=usage)):
        found.feed(piece)
    assert found.counts == TokenCounts(9, 2, None)
