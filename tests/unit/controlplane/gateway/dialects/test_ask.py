"""What a request asks is read from its head and body, and a body that cannot be read is refused with the reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.dialects.asking import json_body
from controlplane.gateway.dialects.errors import Unreadable
from controlplane.gateway.refusal import Refusal, RefusalKind
from tests.fakes.gateway_requests import DIALECTS, asked, head, operation

CHAT = "/v1/chat/completions"
LARGE = "x" * (json_body.SMALL + 1)
"""Text that makes a body large."""


def dumped(**members: object) -> bytes:
    return json.dumps(members).encode()


def refused(target: str, body: bytes, **fields: str) -> Refusal:
    found = DIALECTS.read(operation("POST", target, **fields), head("POST", target, **fields), body)
    assert isinstance(found, Refusal) and found.kind is RefusalKind.MALFORMED
    return found


@pytest.mark.parametrize("padding", ["", LARGE], ids=["small", "large"])
class TestSmallAndLarge:
    def test_a_chat(self, padding: str) -> None:
        body = dumped(
            messages=[{"role": "user", "content": padding}, {"role": "assistant", "content": "{"}],
            model="chat",
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=7,
            n=3,
            temperature=0,
            user="u",
            prompt_cache_key="k",
        )
        found = asked(CHAT, body)
        assert (found.model, found.stream, found.wants_usage, found.max_tokens) == ("chat", True, True, 21)
        assert (found.session, found.continued, found.deterministic, found.inputs) == ("k", True, False, 1)
        assert found.prompt_bytes == len(body) and found.prefix

    def test_the_last_of_two_models_counts(self, padding: str) -> None:
        body = b'{"model":"one","x":"%s","mod\\u0065l":"two"}' % padding.encode()
        assert asked(CHAT, body).model == "two"

    def test_a_model_within_another_member_is_none(self, padding: str) -> None:
        body = b'{"a":{"model":"one"},"x":"%s \\",\\"model\\":\\"no\\"","b":[{"model":"no"}]}' % padding.encode()
        assert refused(CHAT, body).param == "model"

    @pytest.mark.parametrize("name", ["Model", "MODEL", "mODEL", "m\\u004fdel"])
    def test_a_model_in_other_letters_is_refused(self, padding: str, name: str) -> None:
        body = b'{"model":"a","x":"%s","%s":"b"}' % (padding.encode(), name.encode())
        for path in ("/api/chat", CHAT, "/v1/messages", "/v1/embeddings"):
            assert "in small letters" in refused(path, body).message
        within = b'{"model":"a","x":["%s",{"%s":"b"}]}' % (padding.encode(), name.encode())
        assert asked(CHAT, within).model == "a"

    def test_inputs_are_counted_and_need_no_answer(self, padding: str) -> None:
        found = asked("/v1/embeddings", dumped(model="e", input=["a", "b", padding]))
        assert (found.inputs, found.max_tokens) == (3, 0)
        assert asked("/v1/rerank", dumped(model="e", query=padding, documents=["a"] * 5)).inputs == 5
        assert asked("/v1/embeddings", dumped(model="e", input=[[1, 2], [3]], x=padding)).inputs == 2
        for one in ("a", [], [1, 2, 3], [-1], {"a": 1}, None, 7, ["a"]):
            assert asked("/v1/embeddings", dumped(model="e", input=one, x=padding)).inputs == 1
        odd = b'{"model":"e","input":["a","b"],"temperature":NaN,"x":"%s"}' % padding.encode()
        assert asked("/v1/embeddings", odd).inputs == 2
        assert asked("/v1/embeddings", dumped(**{"model": "e", "input": "a", "": 9, "x": padding})).inputs == 1

    def test_python_reads_more_than_json(self, padding: str) -> None:
        body = b'\xef\xbb\xbf {"model":"chat","temperature":NaN,"x":"\\ud800%s"}' % padding.encode()
        assert asked(CHAT, body).model == "chat"

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"model":"chat","x":"%s"', "no valid JSON"),
            (b'{"model":"chat","x":"%s"}}', "no valid JSON"),
            (b'["%s"]', "no JSON object"),
            (b'{"model":"chat","a":' + b"[" * 100_000 + b'"%s"' + b"]" * 100_000 + b"}", "nested too deeply"),
            (b'{"model":7,"x":"%s"}', "no string"),
            (b'{"model":null,"x":"%s"}', "names no model"),
            (b'{"model":"","x":"%s"}', "names no model"),
            (b'{"model":"' + b"m" * 257 + b'","x":"%s"}', "longer than 256"),
            (b'{"x":"%s"}', 'Set "model" in the body'),
        ],
    )
    def test_a_bad_body_is_refused_with_the_reason(self, padding: str, body: bytes, words: str) -> None:
        assert words in refused(CHAT, body.replace(b"%s", padding.encode())).message


def test_a_large_body_has_a_limit_of_strings() -> None:
    assert "more than 200,000 strings" in refused(CHAT, dumped(model="chat", x=["a"] * 200_001)).message
    assert asked(CHAT, dumped(model="chat", x=["a"] * 100_000)).model == "chat"


def test_a_body_that_is_not_utf8_is_refused() -> None:
    assert "not UTF-8 at byte 10" in refused(CHAT, b'{"model":"\xff"}').message
    assert "no valid JSON" in refused(CHAT, b"").message
    assert "UTF-8" in refused(CHAT, '{"model":"chat"}'.encode("utf-16")).message


def test_a_compressed_body_is_refused() -> None:
    assert "Content-Encoding" in refused(CHAT, b"\x1f\x8b", content_encoding="gzip").message


def test_the_header_names_the_model_where_the_body_does_not() -> None:
    assert asked("/tokenize", dumped(prompt="x"), x_model="chat").model == "chat"
    assert asked("/tokenize", dumped(prompt="x", model="other"), x_model="chat").model == "other"


@pytest.mark.parametrize(
    ("members", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6, "max_tokens": 5}, 6),
        ({"max_output_tokens": 7}, 7),
        ({"max_tokens": 5, "n": 4}, 20),
        ({"max_tokens": 5, "best_of": 2, "n": 1}, 10),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 5, "n": -3}, 5),
    ],
)
def test_the_limit_of_the_answer(members: dict[str, object], limit: int | None) -> None:
    assert asked(CHAT, dumped(model="m", **members)).max_tokens == limit


def test_speech_has_a_prompt_and_no_tokens_of_an_answer() -> None:
    found = asked("/v1/audio/speech", dumped(model="m", input="hello", voice="v"))
    assert (found.max_tokens, found.inputs) == (0, 1)


def test_ollama_streams_unless_told_otherwise_and_has_options() -> None:
    found = asked("/api/chat", dumped(model="m", options={"num_predict": 9, "temperature": 0}))
    assert (found.stream, found.max_tokens, found.deterministic) == (True, 9, True)
    assert not asked("/api/chat", dumped(model="m", stream=False)).stream
    assert asked("/api/chat", dumped(model="m", options={"num_predict": -1})).max_tokens is None


@pytest.mark.parametrize(
    ("members", "deterministic"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0, "n": 1}, True),
        ({}, False),
        ({"temperature": 0.1}, False),
        ({"temperature": 0, "n": 2}, False),
        ({"temperature": "0"}, False),
    ],
)
def test_only_one_answer_without_chance_is_deterministic(members: dict[str, object], deterministic: bool) -> None:
    assert asked(CHAT, dumped(model="m", **members)).deterministic == deterministic


def test_the_session_is_the_first_of_the_names() -> None:
    body = dumped(model="m", prompt_cache_key="key", user="user")
    names = {"x_session_id": "1", "x_claude_code_session_id": "2", "x_opencode_session": "4"}
    assert asked(CHAT, body, **names).session == "1"
    assert asked(CHAT, body, x_claude_code_session_id="2", x_opencode_session="4").session == "2"
    assert asked(CHAT, body, x_opencode_session="4").session == "4"
    assert asked(CHAT, body).session == "key"
    assert asked(CHAT, dumped(model="m", user="user")).session == "user"
    assert asked("/v1/messages", dumped(model="m", metadata={"user_id": "claude"})).session == "claude"
    assert asked(CHAT, dumped(model="m", user=5)).session == ""
    assert len(asked(CHAT, dumped(model="m", user="u" * 999)).session) == 256


def test_codex_names_its_session_with_an_underscore() -> None:
    request = head("POST", CHAT)
    request.known[b"session_id"] = b"3"
    found = DIALECTS.read(operation("POST", CHAT), request, dumped(model="m", user="u"))
    assert not isinstance(found, Refusal) and found.session == "3"


def test_a_tester_names_a_version() -> None:
    assert asked(CHAT, dumped(model="m"), x_version="v2").version == "v2"


def test_a_conversation_goes_on() -> None:
    assert not asked(CHAT, dumped(model="m", messages=[{"role": "user", "content": "my assistant"}])).continued
    assert asked("/v1/responses", dumped(model="m", input="x", previous_response_id="r")).continued
    assert asked("/api/chat", dumped(model="m", messages=[{"role": "assistant"}])).continued


def test_equal_beginnings_have_equal_prefixes() -> None:
    system = {"role": "system", "content": "You help. " * 200}
    one = dumped(model="m", messages=[system, {"role": "user", "content": "one"}], temperature=1)
    two = dumped(model="other", messages=[system, {"role": "user", "content": "two"}])
    other = dumped(model="m", messages=[{"role": "system", "content": "You do not. " * 200}])
    assert asked(CHAT, one).prefix == asked(CHAT, two).prefix != asked(CHAT, other).prefix
    assert asked(CHAT, dumped(model="m")).prefix == 0


def test_anthropics_system_prompt_is_the_beginning() -> None:
    one = dumped(model="m", messages=[{"role": "user", "content": "one"}], system="s" * 2000)
    two = dumped(model="m", messages=[{"role": "user", "content": "two"}], system="s" * 2000)
    assert asked("/v1/messages", one).prefix == asked("/v1/messages", two).prefix


class TestTriton:
    def test_the_path_names_model_and_version(self) -> None:
        found = asked("/v2/models/my%20llm/versions/3/infer", b"", x_version="v9")
        assert (found.model, found.version, found.stream) == ("my llm", "3", False)
        assert asked("/v2/models/llm/infer", b"", x_version="v9").version == "v9"

    def test_tensors_are_not_read(self) -> None:
        body = b'{"inputs":[]}' + bytes(range(256))
        assert asked("/v2/models/llm/infer", body, inference_header_content_length="13").model == "llm"
        assert asked("/v2/models/llm/infer", b"\x00\xff", inference_header_content_length="0").model == "llm"
        assert asked("/v2/models/llm/infer", b"\x1f\x8b", content_encoding="gzip").model == "llm"

    @pytest.mark.parametrize("length", ["14", "-1", "x", "1.5", "9" * 20])
    def test_a_wrong_length_of_the_json_part_is_refused(self, length: str) -> None:
        refusal = refused("/v2/models/llm/infer", b'{"inputs":[]}', inference_header_content_length=length)
        assert "Inference-Header-Content-Length" in refusal.message

    def test_generate_has_a_limit_and_streams_by_its_path(self) -> None:
        body = dumped(text_input="hi", max_tokens=5, stream=True)
        assert (asked("/v2/models/llm/generate", body).max_tokens, asked("/v2/models/llm/generate", body).stream) == (
            5,
            False,
        )
        assert asked("/v2/models/llm/generate_stream", dumped(text_input="hi", stream=False)).stream
        assert "no valid JSON" in refused("/v2/models/llm/generate", b"{").message

    def test_a_sequence_stays_together(self) -> None:
        body = dumped(parameters={"sequence_id": 42, "sequence_start": True}, inputs=[])
        assert asked("/v2/models/seq/infer", body).session == "sequence 42"
        assert asked("/v2/models/seq/infer", body, x_session_id="s").session == "s"
        with_tensors = body + b"\xff" * 70_000
        found = asked("/v2/models/seq/infer", with_tensors, inference_header_content_length=str(len(body)))
        assert found.session == "sequence 42"


class TestAnotherPath:
    def test_the_header_names_the_model_and_the_body_may_be_anything(self) -> None:
        assert asked("/generate", b"\xff{", x_model="m").model == "m"
        assert asked("/generate", b'{"broken', x_model="m").model == "m"
        assert "in small letters" in refused("/generate", b' {"Model":"other"}', x_model="m").message
        assert refused("/generate", b'{"model":"other",}', x_model="m")  # an engine might be content with it
        body = dumped(text="hi", stream=True, sampling_params={"max_new_tokens": 8}, model="other")
        found = asked("/generate", body, x_model="m")
        assert (found.model, found.stream, found.max_tokens) == ("m", True, 8)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*json_body.Members.__struct_fields__, "messages", "input", ""]) | st.text(max_size=6)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans(), st.booleans(), st.booleans(), st.data())
def test_members_are_those_of_pythons_parser(
    pairs: list[tuple[str, object]], ascii_only: bool, large: bool, damaged: bool, data: st.DataObject
) -> None:
    texts = [f"{json.dumps(n, ensure_ascii=ascii_only)}:{json.dumps(v, ensure_ascii=ascii_only)}" for n, v in pairs]
    body = ("{" + ", ".join([*texts, f'"padding":"{LARGE if large else 1}"']) + "}").encode()
    if damaged:
        at = data.draw(st.integers(0, min(len(body), 200)))
        body = body[:at] + data.draw(st.binary(max_size=2)) + body[at + data.draw(st.integers(0, 2)) :]
    try:
        expected = json.loads(body.decode("utf-8-sig"))
    except ValueError:
        expected = None
    try:
        found = json_body.read(body, counted=data.draw(st.booleans()))
    except Unreadable:
        assert not isinstance(expected, dict)
        return
    # A fault in a member that is not read is left to the engine.
    if expected is not None:
        for name in json_body.Members.__struct_fields__:
            assert repr(getattr(found, name)) == repr(expected.get(name))
