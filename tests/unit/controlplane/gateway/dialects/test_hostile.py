"""No bytes of a client or an engine raise an error: they are read, refused, or passed on."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.dialects.asking import json_body
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Ask, Frames, Operation
from tests.fakes.gateway_requests import DIALECTS, backend, head, operation

PATHS = [
    *("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/audio/transcriptions", "/v1/messages"),
    *("/api/chat", "/api/embed", "/v2/models/m/infer", "/v2/models/m/generate_stream", "/generate"),
]
WORDS = [
    *("error", "object", "type", "message", "code", "error_code", "usage", "choices", "delta", "finish_reason", "role"),
    *("content", "text", "response", "done", "meta_info", "stop_reason", "prompt_tokens", "input_tokens", "eval_count"),
    *("prompt_tokens_details", "cached_tokens", "response.failed", "message_start", "message_delta", "abort", "detail"),
]
NAMES = st.sampled_from([*json_body.CountedMembers.__struct_encode_fields__, *WORDS])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | NAMES | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)
FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--'
BODIES = st.one_of(
    OBJECTS.map(orjson.dumps), st.binary(max_size=60), st.binary(max_size=9).map(lambda b: FORM[:40] + b)
)


@pytest.mark.parametrize("path", PATHS)
@given(body=BODIES, named=st.booleans())
def test_any_body_is_read_or_refused(path: str, body: bytes, named: bool) -> None:
    fields = {"content_type": "multipart/form-data; boundary=b"} | ({"x_model": "m"} if named else {})
    request = head("POST", path, **fields)
    found = DIALECTS.read(operation("POST", path, x_model="m"), request, body)
    if not isinstance(found, Refusal):
        assert found.model and found.prompt_bytes >= 0 and found.inputs >= 1
        target, sent = DIALECTS.outgoing(found, request, body, backend())
        assert target.startswith(b"/") and isinstance(sent, bytes)


@pytest.mark.parametrize("path", PATHS)
@given(events=st.lists(OBJECTS | st.binary(max_size=20), max_size=4), size=st.integers(1, 40), strip=st.booleans())
def test_any_stream_is_read(path: str, events: list[object], size: int, strip: bool) -> None:
    found = operation("POST", path, x_model="m")
    line = found.frames is Frames.NDJSON
    texts = [event if isinstance(event, bytes) else orjson.dumps(event) for event in events]
    body = b"".join(text + b"\n" if line else b"data: " + text + b"\n\n" for text in texts)
    kind = b"application/x-ndjson" if line else b"text/event-stream"
    for stream in (True, False):
        reader = DIALECTS.reader(Ask(found, "m", stream=stream, wants_usage=strip), 200, [(b"content-type", kind)])
        assert isinstance(reader.first(body), Refusal | bool)
        out = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size)) + reader.end()
        assert reader.fault or not reader.whole or out == body or (strip is False and len(out) < len(body))
        assert reader.counts.prompt is None or reader.counts.prompt >= 0


@pytest.mark.parametrize("path", PATHS)
@given(body=BODIES, status=st.sampled_from([200, 400, 503]))
def test_any_answer_is_read(path: str, body: bytes, status: int) -> None:
    ask = Ask(operation("POST", path, x_model="m"), "m")
    reader = DIALECTS.reader(ask, status, [(b"content-type", b"application/json")])
    assert isinstance(reader.first(body, done=True), Refusal | bool)
    out = reader.feed(body) + reader.end()
    assert out == body or (reader.fault and out == b"" and status == 200)
    assert reader.whole and bool(reader.fault) >= (status >= 400)


@given(st.sampled_from(["GET", "POST", "HEAD", "X"]), st.text("/.%2fFeEabv12models:\\~ü\0", max_size=24))
def test_any_path_is_recognised_or_refused(method: str, path: str) -> None:
    for fields in ({}, {"x_model": "m"}, {"anthropic_version": "1"}):
        found = DIALECTS.recognise(head(method, f"/{path}", **fields))
        assert isinstance(found, Operation | Refusal)
        if isinstance(found, Operation) and found.local:
            assert isinstance(DIALECTS.models(found, f"/{path}".encode(), ["m"], 0), bytes | Refusal)
