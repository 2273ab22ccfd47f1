"""The request for an engine differs from the client's in the model's name and the wish for usage, in nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.desired.document import BackendSpec
from tests.fakes.gateway_requests import DIALECTS, asked, backend, head

CHAT = "/v1/chat/completions"
ASKING = b'"stream_options":{"include_usage":true},'


def sent(target: str, body: bytes, to: BackendSpec | None = None, **fields: str) -> tuple[bytes, bytes]:
    ask = asked(target, body, **fields)
    return DIALECTS.outgoing(ask, head("POST", target, **fields), body, to or backend())


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        (b'{"model":', b'"chat"', b"}"),
        (b' { "messages" : [ {"content":"\\"model\\": \\"chat\\""} ], "model" : ', b'"chat"', b' , "x":1.0e+5 }\n'),
        (b'{"x":{"model":"chat"},"model":', b'"chat"', b"}"),
        (b'{"model":', b'"chat"', b',"x":[{"model":"chat"}]}'),
        (b'{"x":"\\u0041","model":', b'"chat"', b"}"),
        (b'{"x":"model","model":', b'"chat"', b',"y":"\xc3\xbc"}'),
        (b'{"model":', b'"c\\u0068at"', b"}"),
        (b'\xef\xbb\xbf{"model":', b'"chat"', b',"n":NaN}'),
    ],
)
def test_only_the_models_value_changes(before: bytes, value: bytes, after: bytes) -> None:
    assert sent(CHAT, before + value + after)[1] == before + b'"served"' + after


def test_every_model_of_a_body_with_two_is_the_served_one() -> None:
    _, out = sent(CHAT, b'{"model":"a","mod\\u0065l":"b","x":{"model":"c"},"model":"chat"}')
    assert out == b'{"model":"served","mod\\u0065l":"served","x":{"model":"c"},"model":"served"}'
    _, out = sent(CHAT, b'{"model":"a","mod\\u0065l":"chat"}')
    assert out == b'{"model":"served","mod\\u0065l":"served"}'


def test_a_body_for_an_engine_with_the_clients_name_is_the_same_object() -> None:
    body = b'{"model":"chat"}'
    assert sent(CHAT, body, backend("chat"))[1] is body


@pytest.mark.parametrize(
    "body", [b'{"model":"other","model":"chat"}', b'{"mod\\u0065l":"other","x":[{"model":"y"}],"model":"chat"}']
)
def test_no_second_model_reaches_an_engine_with_the_clients_name(body: bytes) -> None:
    """The model that was checked is the last one. An engine that takes the first would answer with another one."""
    assert sent(CHAT, body, backend("chat"))[1] == body.replace(b"other", b"chat")


@pytest.mark.parametrize("begin", [b"", b" \r\n", b"\xef\xbb\xbf"])
def test_an_own_path_gets_the_checked_model_whatever_is_before_its_body(begin: bytes) -> None:
    _, out = sent("/generate", begin + b'{"model":"other"}', backend("chat"), x_model="chat")
    assert out == begin + b'{"model":"chat"}'


def test_an_adapter_keeps_its_name() -> None:
    to = BackendSpec("http://engine:8000", "vllm", "base", adapters=("lora-a",))
    body = b'{"model":"lora-a"}'
    assert sent(CHAT, body, to)[1] is body
    assert sent(CHAT, b'{"model":"chat"}', to)[1] == b'{"model":"base"}'


def test_a_served_name_is_escaped() -> None:
    _, out = sent(CHAT, b'{"model":"chat"}', backend('a"b\\ü'))
    assert json.loads(out) == {"model": 'a"b\\ü'}


def test_a_model_of_the_header_leaves_the_body() -> None:
    body = b'{"prompt":"x","y":{"model":"chat"}}'
    assert sent("/tokenize", body, x_model="chat")[1] == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"served","stream":true}', b"{" + ASKING + b'"model":"served","stream":true}'),
        (b' {"model":"served","stream":true}', b" {" + ASKING + b'"model":"served","stream":true}'),
        (
            b'{"model":"served","stream":true,"stream_options":null}',
            b'{"model":"served","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"model":"served","stream_options": {},"stream":true}',
            b'{"model":"served","stream_options": {"include_usage":true},"stream":true}',
        ),
        (
            b'{"model":"served","stream_options":{ "x":1},"stream":true}',
            b'{"model":"served","stream_options":{"include_usage":true, "x":1},"stream":true}',
        ),
        (
            b'{"model":"served","stream_options":{"include_usage":false,"x":1},"stream":true}',
            b'{"model":"served","stream_options":{"include_usage":true,"x":1},"stream":true}',
        ),
        (
            b'{"model":"served","stream":true,"x":"\\"stream_options\\"","y":{"stream_options":1}}',
            b"{" + ASKING + b'"model":"served","stream":true,"x":"\\"stream_options\\"","y":{"stream_options":1}}',
        ),
        (
            b'{"stream_options":{"include_usage":true},"model":"served","stream":true,"stream_options":null}',
            b'{"stream_options":{"include_usage":true},"model":"served","stream":true,'
            b'"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_a_stream_asks_for_usage(body: bytes, expected: bytes) -> None:
    assert sent(CHAT, body)[1] == expected
    assert sent("/v1/completions", body)[1] == expected


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (CHAT, b'{"model":"served","stream":true,"stream_options":{"include_usage":true}}'),
        (CHAT, b'{"model":"served","stream":false}'),
        ("/v1/responses", b'{"model":"served","stream":true}'),
        ("/v1/messages", b'{"model":"served","stream":true}'),
        ("/api/chat", b'{"model":"served"}'),
    ],
)
def test_usage_is_not_asked_for_where_it_comes_anyway_or_was_asked_for(target: str, body: bytes) -> None:
    assert sent(target, body)[1] is body


MEMBERS = st.dictionaries(
    st.text(max_size=8) | st.sampled_from(["stream_options", "messages"]),
    st.recursive(st.none() | st.text() | st.floats(allow_nan=False), lambda inner: st.dictionaries(st.text(), inner)),
)


@given(MEMBERS, st.booleans(), st.text(min_size=1).map(str.strip).filter(bool))
def test_the_engine_reads_what_the_client_wrote(members: dict[str, object], ascii_only: bool, served: str) -> None:
    members = {name: value for name, value in members.items() if name.lower() != "model"}
    options = members.get("stream_options")
    body = json.dumps({**members, "model": "chat", "stream": True}, ensure_ascii=ascii_only).encode()
    out = json.loads(sent(CHAT, body, backend(served))[1])
    wanted = {**options, "include_usage": True} if isinstance(options, dict) else {"include_usage": True}
    assert out == {**members, "model": served, "stream": True, "stream_options": wanted}


class TestTargets:
    def test_the_query_stays_and_the_engines_path_comes_first(self) -> None:
        to = backend(url="https://engine:1/base/")
        assert sent(CHAT + "?a=1&b=%2F", b'{"model":"x"}', to)[0] == b"/base/v1/chat/completions?a=1&b=%2F"
        assert sent(CHAT, b'{"model":"x"}')[0] == b"/v1/chat/completions"

    @pytest.mark.parametrize(
        ("target", "path_version", "expected"),
        [
            ("/v2/models/llm/infer", "2", b"/v2/models/served/versions/2/infer"),
            ("/v2/models/llm/versions/v9/infer?x=1", "2", b"/v2/models/served/versions/2/infer?x=1"),
            ("/v2/models/llm/versions/v9/generate_stream", "", b"/v2/models/served/generate_stream"),
        ],
    )
    def test_triton_gets_its_model_and_version_in_the_path(
        self, target: str, path_version: str, expected: bytes
    ) -> None:
        body = b'{"text_input":"model"}' if "generate" in target else b"\x00\xff"
        out, same = sent(target, body, backend(path_version=path_version))
        assert out == expected and same is body

    def test_a_served_name_makes_no_other_path(self) -> None:
        out, _ = sent("/v2/models/llm/infer", b"", backend("../repository/x?y#z"))
        assert out == b"/v2/models/..%2Frepository%2Fx%3Fy%23z/infer"


class TestAnotherPath:
    def test_a_model_in_the_body_is_the_served_one(self) -> None:
        _, out = sent("/invocations", b'{"messages":[{"model":1}],"model":"other"}', x_model="chat")
        assert out == b'{"messages":[{"model":1}],"model":"served"}'

    @pytest.mark.parametrize("body", [b"", b"\xff\x00", b'{"broken', b'["model"]', b'{"text":"hi"}'])
    def test_any_other_body_stays(self, body: bytes) -> None:
        assert sent("/generate", body, x_model="chat") == (b"/generate", body)
