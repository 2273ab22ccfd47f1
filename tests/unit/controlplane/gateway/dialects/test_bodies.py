"""One body passes as it comes. Its usage and its error are read at its end."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from controlplane.gateway.dialects.answers import body as body_module
from controlplane.gateway.dialects.answers import content, faults, usage
from controlplane.gateway.dialects.answers.body import MOST_KEPT
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, Content, TokenCounts
from controlplane.gateway.seams import AnswerReader
from tests.fakes.gateway_requests import DIALECTS, operation

STREAMS = Path("tests/fixtures/streams")
CHAT = "/v1/chat/completions"


def reader(
    path: str = CHAT, status: int = 200, kind: bytes = b"application/json", *, stream: bool = False
) -> AnswerReader:
    found = operation("POST", path, x_model="m")
    ask = Ask(found, "m", stream=stream, max_tokens=0 if found.name == "embedding" else None)
    return DIALECTS.reader(ask, status, [(b"content-type", kind)] if kind else [])


def read(found: AnswerReader, body: bytes, size: int = 1000) -> AnswerReader:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(map(found.feed, pieces)) + found.end() == body
    assert found.whole
    return found


def faulty(body: bytes, path: str = CHAT) -> str:
    """Return the fault of a body of which some part must not reach the client."""
    for size in (7, 1000):
        found = reader(path)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        out = b"".join(map(found.feed, pieces)) + found.end()
        assert body.startswith(out) and (len(out) < len(body) or not body) and found.whole and found.fault
    return found.fault


@pytest.mark.parametrize(
    ("path", "file"), [(CHAT, "llama-server-chat.json"), ("/v1/messages", "llama-server-messages.json")]
)
def test_the_usage_of_a_real_answer(path: str, file: str) -> None:
    found = read(reader(path), (STREAMS / file).read_bytes())
    assert found.counts == TokenCounts(20, 4, 19) and not found.fault


@pytest.mark.parametrize(
    ("path", "document", "counts"),
    [
        (CHAT, {"usage": {"prompt_tokens": 5, "completion_tokens": 0}}, TokenCounts(5, 0)),
        ("/v1/embeddings", {"data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, TokenCounts(5, 0)),
        ("/v1/rerank", {"results": [], "usage": {"total_tokens": 8}}, TokenCounts(8, 0)),
        ("/v1/responses", {"usage": {"input_tokens": 5, "output_tokens": 2}}, TokenCounts(5, 2)),
        ("/api/chat", {"done": True, "prompt_eval_count": 5, "eval_count": 2}, TokenCounts(5, 2)),
        ("/api/embed", {"embeddings": [], "prompt_eval_count": 5}, TokenCounts(5, 0)),
        ("/generate", {"text": "", "meta_info": {"prompt_tokens": 5, "completion_tokens": 2}}, TokenCounts(5, 2)),
        (CHAT, {"usage": None, "text": "x" * 100}, TokenCounts(1, 31, estimated=True)),
        (CHAT, {"usage": {"prompt_tokens": -1, "completion_tokens": True}}, TokenCounts(1, 13, estimated=True)),
        (CHAT, ["usage"], TokenCounts(1, 2, estimated=True)),
        ("/v1/tokenize", {"count": 3}, TokenCounts()),
    ],
)
def test_the_usage_of_each_api(path: str, document: object, counts: TokenCounts) -> None:
    found = read(reader(path), orjson.dumps(document))
    assert found.counts == counts


def test_the_usage_of_a_long_body_is_at_its_end() -> None:
    usage = {"prompt_tokens": 5, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}
    text = '"usage":{"prompt_tokens":1}'
    item = {"usage": {"prompt_tokens": 1}}
    body = orjson.dumps({"data": [text, "x" * 4 * MOST_KEPT, item], "usage": usage, "model": "m"})
    assert read(reader("/v1/embeddings"), body, 16_384).counts == TokenCounts(5, 0, 2)


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, b'{"error":{"message":"too long","type":"x","code":400}}', "too long"),
        (401, b'{"error":"Unauthorized"}', "Unauthorized"),
        (404, b'{"detail":"Not Found"}', "Not Found"),
        (404, b'{"detail":""}', "The engine answered with status 404"),
        (400, b'{"object":"error","message":"flat","code":400}', "flat"),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', "busy"),
        (500, b"Internal Server Error", "The engine answered with status 500"),
        (503, b"", "The engine answered with status 503"),
        (422, b'{"detail":[{"loc":["body"]}]}', "The engine answered with status 422"),
    ],
)
def test_an_error_status_has_the_engines_words(status: int, body: bytes, fault: str) -> None:
    found = reader(status=status)
    assert found.first(body) is True
    assert read(found, body).fault == fault
    assert found.counts == TokenCounts(0, 0)


def test_an_error_status_of_a_stream_is_one_body() -> None:
    found = reader(status=503, kind=b"text/event-stream", stream=True)
    assert read(found, b'data: {"error":"x"}\n\n').fault == "The engine answered with status 503"


class TestAnErrorUnder200:
    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b'{"error":{"message":"m","code":503}}', RefusalKind.NO_CAPACITY),
            (b' {"object": "error", "message": "m", "code": 400}', RefusalKind.MALFORMED),
            (b'{"error":"m"}', RefusalKind.UPSTREAM_FAILED),
        ],
    )
    def test_it_is_a_refusal_when_it_is_complete(self, body: bytes, kind: RefusalKind) -> None:
        assert reader().first(body[:-1]) is False
        found = reader().first(body)
        assert isinstance(found, Refusal) and found.kind is kind and found.message == "m"

    @pytest.mark.parametrize("body", [b'{"id":"x"', b'{"error":null,', b'{"errors":[', b'{"error":false', b"["])
    def test_another_body_passes_at_once(self, body: bytes) -> None:
        assert reader().first(body) is True

    def test_a_long_one_passes(self) -> None:
        assert reader().first(b'{"error":{"message":"' + b"x" * 70_000) is True

    def test_it_is_a_fault_wherever_it_is(self) -> None:
        body = b'{"id":"x","error":{"message":"m"}}'
        assert faulty(body) == "m"
        assert reader().first(body) is True
        found = reader().first(body, done=True)
        assert isinstance(found, Refusal) and found.message == "m"
        for good in (b'{"id":"x","error":null}', b'{"text":"\\"error\\""}'):
            assert reader().first(good, done=True) is True and not read(reader(), good).fault


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/chat", "/v1/embeddings", "/v2/models/m/generate"])
def test_half_an_answer_or_none_is_a_fault(path: str) -> None:
    for body in (b'{"choices":[{"message":{"content":"A}', b'{"choices":[{}]', b"", b" "):
        assert "no complete JSON" in faulty(body, path)
        if not body.endswith(b"}"):
            refusal = reader(path).first(body, done=True)
            assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.UPSTREAM_FAILED
    for body in (b'{"choices":[NaN]}\n', b"[1]", b'{"a":"' + b"x" * MOST_KEPT + b'"}'):
        assert not read(reader(path), body).fault


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/embeddings"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_page_is_refused_before_it_passes(path: str, stream: bool) -> None:
    for kind in (b"text/html; charset=utf-8", b"application/json"):
        found = reader(path, kind=kind, stream=stream).first(b"\n<html>")
        assert isinstance(found, Refusal) and found.kind is RefusalKind.UPSTREAM_FAILED
    assert reader(path).first(b" \n") is False
    assert reader(path, 500, b"text/html").first(b"<html>") is True
    assert reader("/docs", kind=b"text/html").first(b"<html>") is True
    assert reader("/generate").first(b'"text"') is True


def test_an_aborted_answer_is_a_fault() -> None:
    body = b'{"choices":[{"message":{"content":"x"},"finish_reason": "abort"}],"usage":{"prompt_tokens":1}}'
    assert faulty(body) == "The engine aborted the request"
    assert reader().first(body) is True and isinstance(reader().first(body, done=True), Refusal)
    text = orjson.dumps({"choices": [{"message": {"content": '"finish_reason":"abort"'}, "finish_reason": "stop"}]})
    assert reader().first(text, done=True) is True and not read(reader(), text).fault


def test_the_last_piece_of_an_answer_waits_for_the_end() -> None:
    found = reader()
    assert [found.feed(piece) for piece in (b'{"a"', b":1", b"}")] == [b"", b'{"a"', b":1"]
    assert found.end() == b"}"
    assert reader("/generate").feed(b"x") == b"x"


@pytest.mark.parametrize("kind", [b"audio/mpeg", b"application/octet-stream"])
def test_another_body_is_not_read(kind: bytes) -> None:
    found = reader("/v1/audio/speech", kind=kind)
    assert found.first(b'{"error":"x"}') is True
    assert read(found, bytes(range(256)) * 100).counts == TokenCounts(1, None, estimated=True)


def test_a_compressed_answer_is_not_read() -> None:
    ask = Ask(operation("POST", CHAT), "m", stream=True)
    found = DIALECTS.reader(ask, 200, [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")])
    assert found.first(b"\x1f") is True and found.feed(b"\x1f\x8b") == b"\x1f\x8b"
    found.end()
    assert found.whole and found.unread


@pytest.mark.parametrize(("stream", "tokens"), [(False, 500), (True, 125)])
def test_the_tokens_of_a_compressed_answer_are_estimated_from_its_length(stream: bool, tokens: int) -> None:
    ask = Ask(operation("POST", CHAT), "m", stream=stream, prompt_bytes=400)
    fields = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    for limit, expected in ((None, tokens), (70, 70)):
        ask.max_tokens = limit
        found = DIALECTS.reader(ask, 200, fields)
        found.feed(bytes(600))
        found.feed(bytes(400))
        found.end()
        assert found.counts == TokenCounts(100, expected, estimated=True)
    assert DIALECTS.reader(ask, 500, fields).counts == TokenCounts(0, 0)


def test_a_stream_without_a_content_type_is_a_stream() -> None:
    found = reader(kind=b"", stream=True)
    assert found.first(b"data: {") is False
    assert reader("/generate", kind=b"").first(b"data: {") is True


def chat(message: dict[str, object] | None, /, reason: object = "stop", **more: object) -> dict[str, object]:
    choice = {"index": 0, "finish_reason": reason} | ({} if message is None else {"message": message})
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage} | more


@pytest.mark.parametrize("cut", [True, False], ids=["in pieces", "whole"])
@pytest.mark.parametrize(
    "document",
    [
        chat({"content": "Yes"}),
        chat({"content": "Yes", "refusal": None, "tool_calls": []}, "length"),
        chat({"content": " \n"}),
        chat({"content": "\u2003"}),
        chat({"content": "é"}),
        chat({"content": ""}, None),
        chat({"content": None, "tool_calls": [{"type": "function"}]}, "tool_calls"),
        chat({"content": None, "refusal": "No"}),
        chat({"content": None, "reasoning": "so"}),
        chat({"content": [{"type": "text", "text": "Yes"}]}, "content_filter"),
        chat(None, {"type": "length"}, error=None),
        chat({"content": "Yes"}, error={}),
        chat({"content": "Yes"}, error={"message": "no"}),
        chat({"content": "Yes"}, error="no"),
        chat({"content": "Yes"}, object="error", message="no"),
        chat({"content": "Yes"}, type="error"),
        chat({"content": "Yes"}, error_code=50001, text="no"),
        chat({"content": "Yes"}, usage=None, meta_info={"prompt_tokens": 1, "completion_tokens": 2}),
        chat({"content": "Yes"}, usage={"prompt_tokens": 5, "total_tokens": 9}),
        chat({"content": "Yes"}, choices=[]),
    ],
)
def test_a_body_is_read_as_its_parsed_document_is(document: dict[str, object], cut: bool) -> None:
    body = orjson.dumps(document)
    counts, facts, fault = TokenCounts(), Content(), faults.find(document)
    usage.of_document(document, counts)
    content.of_body(document, facts)
    found = reader()
    if not cut:
        assert isinstance(found.first(body, done=True), Refusal) is (fault is not None and '"error"' in body.decode())
    size = 7 if cut else len(body)
    for at in range(0, len(body), size):
        found.feed(body[at : at + size])
    found.end()
    assert (found.counts, found.content) == (counts, facts)
    assert found.fault == ("" if fault is None else fault.message)


def test_a_body_that_came_whole_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, decoded = body_module._decoded, list[bytes]()

    def noted(body: bytes) -> object:
        decoded.append(body)
        return decode(body)

    monkeypatch.setattr(body_module, "_decoded", noted)
    for path, file in ((CHAT, "llama-server-chat.json"), ("/v1/messages", "llama-server-messages.json")):
        body, found = (STREAMS / file).read_bytes(), reader(path)
        assert found.first(body, done=True) is True and found.feed(body) + found.end() == body
    assert len(decoded) == 2
