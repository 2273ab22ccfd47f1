"""A stream passes unchanged. Its events, usage, errors and end are seen however its bytes are split."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.gateway.dialects.answers.stream import MOST_HELD, MOST_READ, StreamReader
from controlplane.gateway.refusal import Refusal, RefusalKind
from controlplane.gateway.request import Ask, TokenCounts
from controlplane.gateway.seams import AnswerReader
from tests.fakes.gateway_requests import DIALECTS, operation

STREAMS = Path("tests/fixtures/streams")
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
NDJSON = [(b"content-type", b"application/x-ndjson")]
CHAT, COMPLETION, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, OLLAMA, TRITON, PLAIN = "/v1/messages", "/api/chat", "/v2/models/llm/generate_stream", "/generate"


def reader(path: str, *, wants_usage: bool = False) -> AnswerReader:
    """Return a reader of a stream that a path's client asked for."""
    ask = Ask(operation("POST", path, x_model="m"), "m", stream=True, wants_usage=wants_usage)
    return DIALECTS.reader(ask, 200, NDJSON if path == OLLAMA else SSE)


def guessed(events: int) -> TokenCounts:
    """Return the counts of a stream without usage, asked for by an empty request."""
    return TokenCounts(1, events, None, estimated=True)


def passed(found: AnswerReader, *pieces: bytes) -> bytes:
    """Return what a client gets of a whole body in pieces."""
    return b"".join(map(found.feed, pieces)) + found.end()


def chunk(content: str = "x", finish: str | None = None, **more: object) -> bytes:
    """Return a chunk of a chat, as vLLM writes it."""
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c", "choices": [choice], **more}) + b"\n\n"


ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
BUSY = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'
SGLANG_ERROR = b'data: {"object":"error","message":"The queue is full.","type":"503","code":503}\n\n'
VLLM_ERROR = b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","param":null,"code":500}}\n\n'


@pytest.mark.parametrize(
    ("path", "file", "events", "counts"),
    [
        (CHAT, "llama-server-chat.sse", 4, guessed(4)),
        (CHAT, "llama-server-chat-usage.sse", 4, TokenCounts(20, 4, 19)),
        (COMPLETION, "llama-server-completion-usage.sse", 4, TokenCounts(2, 4, 0)),
        (RESPONSES, "llama-server-responses.sse", 4, TokenCounts(20, 4, 19)),
        (MESSAGES, "llama-server-messages.sse", 4, TokenCounts(20, 4, 19)),
    ],
)
class TestCaptured:
    def test_every_split_is_read_alike(self, path: str, file: str, events: int, counts: TokenCounts) -> None:
        body = (STREAMS / file).read_bytes()
        for size in (1, 2, 3, 7, 100, 999, len(body)):
            found = reader(path, wants_usage=True)
            assert passed(found, *(body[at : at + size] for at in range(0, len(body), size))) == body
            assert (found.events, found.counts, found.whole, found.fault) == (events, counts, True, "")

    def test_a_stream_that_is_cut_is_not_whole(self, path: str, file: str, events: int, counts: TokenCounts) -> None:
        body = (STREAMS / file).read_bytes()
        cut = body[: body.index(b"data:", len(body) // 3) + 9]
        found = reader(path, wants_usage=True)
        told = b"".join(found.feed(cut[at : at + 50]) for at in range(0, len(cut), 50))
        # The client has no piece of an event, so what tells it of the end is an event of its own.
        assert told.endswith(b"\n\n") and cut.startswith(told)
        found.end()
        assert not found.whole and not found.fault


@given(
    st.lists(st.sampled_from([ROLE, chunk(), chunk('"error" [DONE]'), b": ping\n\n", USAGE, chunk("", "stop"), DONE])),
    st.data(),
)
def test_no_split_changes_what_is_read(events: list[bytes], data: st.DataObject) -> None:
    body = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    split, single, each = reader(CHAT), reader(CHAT), reader(CHAT)
    kept = body.replace(USAGE, b"")
    assert passed(split, *pieces) == passed(single, body) == passed(each, *events) == kept
    for found in (split, single, each):
        assert found.events == events.count(chunk()) + events.count(chunk('"error" [DONE]'))
        assert found.whole == (DONE in events or chunk("", "stop") in events)
        assert found.counts == (TokenCounts(9, 3) if USAGE in events else guessed(found.events))


class TestUsage:
    def test_the_usage_that_the_client_did_not_ask_for_is_taken_out(self) -> None:
        found = reader(CHAT)
        assert passed(found, ROLE + chunk() + USAGE[:40], USAGE[40:] + DONE) == ROLE + chunk() + DONE
        assert found.counts == TokenCounts(9, 3) and found.events == 1

    def test_the_usage_that_the_client_asked_for_stays(self) -> None:
        assert passed(reader(CHAT, wants_usage=True), ROLE, USAGE, DONE) == ROLE + USAGE + DONE

    def test_usage_in_every_chunk_is_followed_and_stays(self) -> None:
        found = reader(CHAT)
        chunks = [chunk(usage={"prompt_tokens": 9, "completion_tokens": n}) for n in (1, 2)]
        assert passed(found, *chunks) == b"".join(chunks)
        assert found.counts == TokenCounts(9, 2) and found.events == 2

    def test_null_usage_is_none(self) -> None:
        found = reader(CHAT)
        assert passed(found, chunk(usage=None), chunk(usage=None)) == chunk(usage=None) * 2
        assert found.counts == guessed(2)

    def test_cached_tokens_are_read(self) -> None:
        found = reader(CHAT)
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
        passed(found, chunk(usage=usage))
        assert found.counts == TokenCounts(9, 1, 8)

    def test_anthropics_prompt_is_the_sum_of_its_parts(self) -> None:
        found = reader(MESSAGES)
        usage = {"input_tokens": 2, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 4, "output_tokens": 1}
        found.feed(
            b"event: message_start\ndata: "
            + orjson.dumps({"type": "message_start", "message": {"usage": usage}})
            + b"\n\n"
        )
        assert found.counts == TokenCounts(36, 0, 30, estimated=True)
        found.feed(b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":7}}\n\n')
        assert found.counts == TokenCounts(36, 7, 30)

    def test_azure_begins_with_an_event_without_choices(self) -> None:
        first = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'
        assert passed(reader(CHAT), first, DONE) == first + DONE


class TestEnds:
    def test_a_finish_reason_and_a_clean_end_are_whole_without_done(self) -> None:
        found = reader(CHAT)
        passed(found, chunk(), chunk("", "length"))
        assert found.whole

    def test_a_clean_end_without_a_finish_reason_is_not_whole(self) -> None:
        found = reader(CHAT)
        passed(found, chunk(), chunk())
        assert not found.whole and found.events == 2

    def test_the_last_chunk_may_have_content(self) -> None:
        found = reader(CHAT)
        passed(found, chunk("x", "stop"), DONE)
        assert found.events == 1

    def test_a_last_event_without_an_empty_line_is_read(self) -> None:
        found = reader(CHAT)
        assert passed(found, chunk(), DONE.rstrip()) == chunk() + DONE.rstrip()
        assert found.whole

    @pytest.mark.parametrize("rest", [chunk()[:40], chunk().rstrip(), b"data: x"])
    def test_a_piece_at_the_end_of_a_broken_answer_is_dropped(self, rest: bytes) -> None:
        found = reader(CHAT)
        assert passed(found, chunk() + rest) == chunk()
        assert not found.whole

    def test_a_piece_at_the_end_of_a_whole_answer_passes(self) -> None:
        assert passed(reader(CHAT), DONE + b": bye") == DONE + b": bye"
        assert passed(reader(PLAIN), b"data: x") == b"data: x"

    def test_carriage_returns_are_line_ends_too(self) -> None:
        body = (ROLE + chunk() + USAGE + DONE).replace(b"\n", b"\r\n")
        for size in (1, 5, len(body)):
            found = reader(CHAT)
            out = passed(found, *(body[at : at + size] for at in range(0, len(body), size)))
            assert out == (ROLE + chunk() + DONE).replace(b"\n", b"\r\n")
            assert found.whole and found.events == 1 and found.counts == TokenCounts(9, 3)

    @pytest.mark.parametrize("more", [b"\n", b"\n\n", b"\n\n\n", b"\r\n"])
    def test_more_empty_lines_pass(self, more: bytes) -> None:
        body = more + chunk() + more + chunk() + more + DONE + more
        for size in (1, 5, len(body)):
            found = reader(CHAT)
            assert passed(found, *(body[at : at + size] for at in range(0, len(body), size))) == body
            assert found.whole and found.events == 2

    def test_a_spaced_chunk_is_read(self) -> None:
        found = reader(CHAT)
        passed(found, chunk().replace(b":", b": ").replace(b",", b", "), chunk("", "stop").replace(b":", b": "))
        assert found.events == 1 and found.whole

    def test_responses_end_with_completed_or_incomplete(self) -> None:
        for end in ("completed", "incomplete"):
            found = reader(RESPONSES)
            usage = {"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}
            event = {"type": f"response.{end}", "response": {"status": end, "error": None, "usage": usage}}
            passed(found, f"event: response.{end}\ndata: ".encode() + orjson.dumps(event) + b"\n\n")
            assert found.whole and found.counts == TokenCounts(5, 2, 1)


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "event", "message"),
        [
            (CHAT, VLLM_ERROR, "EngineCore died"),
            (MESSAGES, b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no"}}\n\n', "no"),
            (TRITON, b'data: {"error":"in ensemble: no"}\n\n', "in ensemble: no"),
            (OLLAMA, b'{"error":"no"}\n', "no"),
            (PLAIN, SGLANG_ERROR, "The queue is full."),
            (
                RESPONSES,
                b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"message":"no"}}}\n\n',
                "no",
            ),
        ],
    )
    def test_an_error_in_the_apis_own_shape_passes_and_ends_the_answer(
        self, path: str, event: bytes, message: str
    ) -> None:
        found = reader(path)
        assert passed(found, event + DONE, DONE, chunk()) == event
        assert found.fault == message and not found.whole

    @pytest.mark.parametrize(
        ("path", "event", "message"),
        [
            (CHAT, SGLANG_ERROR, "The queue is full."),
            (CHAT, b'data: {"error":"overloaded","error_type":"overloaded"}\n\n', "overloaded"),
            (CHAT, b'data: {"text": "**NETWORK ERROR**", "error_code": 50004}\n\n', "**NETWORK ERROR**"),
            (CHAT, chunk("", "abort"), "The engine aborted the request"),
            (
                COMPLETION,
                b'data: {"choices":[{"text":"","finish_reason":"abort"}]}\n\n',
                "The engine aborted the request",
            ),
            (RESPONSES, b'event: error\ndata: {"type":"error","code":"x","message":"no","param":null}\n\n', "no"),
        ],
    )
    def test_an_error_that_openais_client_overlooks_becomes_one_that_it_raises(
        self, path: str, event: bytes, message: str
    ) -> None:
        found = reader(path)
        out = passed(found, chunk(), event + DONE)
        assert out.startswith(chunk()) and b"[DONE]" not in out
        told = orjson.loads(out.removeprefix(chunk()).split(b"data: ")[1])
        assert told["error"]["message"] == message == found.fault
        assert not found.whole

    def test_anthropics_client_needs_the_events_name(self) -> None:
        found = reader(MESSAGES)
        out = passed(found, VLLM_ERROR)
        assert out.startswith(b"event: error\ndata: ") and found.fault == "EngineCore died"

    def test_nested_errors_become_text_for_ollama_and_triton(self) -> None:
        assert orjson.loads(passed(reader(OLLAMA), b'{"error":{"message":"no"}}\n')) == {"error": "no"}
        assert passed(reader(TRITON), VLLM_ERROR) == b'data: {"error":"EngineCore died"}\n\n'

    def test_an_empty_error_is_none(self) -> None:
        found = reader(CHAT)
        passed(found, chunk(error=None), DONE)
        assert found.whole and found.events == 1

    def test_text_that_looks_like_an_error_is_text(self) -> None:
        found = reader(CHAT)
        body = chunk('{"error": {"message": "x"}}') + chunk("data: [DONE]\n\n") + chunk('"finish_reason":"abort"')
        assert passed(found, body, DONE) == body + DONE
        assert found.events == 3 and found.whole

    def test_sglangs_own_abort_is_an_error(self) -> None:
        found = reader(PLAIN)
        passed(found, b'data: {"text":"","meta_info":{"finish_reason":{"type":"abort","message":"x"}}}\n\n')
        assert found.fault

    def test_a_long_message_is_cut(self) -> None:
        found = reader(TRITON)
        passed(found, b'data: {"error":"' + b"x" * 9999 + b'"}\n\n')
        assert len(found.fault) == 500


class TestFirst:
    @pytest.mark.parametrize("path", [CHAT, MESSAGES, PLAIN])
    def test_it_waits_for_a_whole_event_with_data(self, path: str) -> None:
        found = reader(path)
        for data in (b"", b": ping\n\n", b"event: x\n\n", b"data: {", ROLE[:-1]):
            assert found.first(data) is False
        assert found.first(b": ping\n\n" + ROLE) is True
        assert found.first(DONE) is True
        assert found.counts == guessed(0)

    @pytest.mark.parametrize(
        ("path", "event", "kind"),
        [
            (CHAT, SGLANG_ERROR, RefusalKind.NO_CAPACITY),
            (CHAT, VLLM_ERROR, RefusalKind.UPSTREAM_FAILED),
            (CHAT, b'data: {"error":"Input validation error","error_type":"validation"}\n\n', RefusalKind.MALFORMED),
            (CHAT, b'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n', RefusalKind.NO_CAPACITY),
            (CHAT, b'data: {"error":{"message":"m","code":"429"}}\n\n', RefusalKind.OVERLOADED),
            (CHAT, b'data: {"error":{"message":"m","code":401}}\n\n', RefusalKind.UPSTREAM_FAILED),
            (CHAT, b'data: {"text":"m","error_code":40303}\n\n', RefusalKind.MALFORMED),
            (CHAT, b'data: {"text":"m","error_code":42903}\n\n', RefusalKind.OVERLOADED),
            (CHAT, b'data: {"error":{"message":"m","type":"BadRequestError"}}\n\n', RefusalKind.MALFORMED),
            (CHAT, chunk("", "abort"), RefusalKind.UPSTREAM_FAILED),
            (MESSAGES, BUSY, RefusalKind.NO_CAPACITY),
            (OLLAMA, b'{"error":"model failed to load"}\n', RefusalKind.UPSTREAM_FAILED),
            (TRITON, b'data: {"error":"no"}\n\n', RefusalKind.UPSTREAM_FAILED),
        ],
    )  # fmt: skip
    def test_a_leading_error_is_a_refusal(self, path: str, event: bytes, kind: RefusalKind) -> None:
        found = reader(path).first(event)
        assert isinstance(found, Refusal) and found.kind is kind and found.code == "engine_error"

    def test_a_first_event_that_is_too_long_is_good(self) -> None:
        assert reader(CHAT).first(b"data: " + b"x" * MOST_HELD) is True


class TestLongEvents:
    @pytest.mark.parametrize("size", [1000, MOST_HELD - 1, MOST_HELD * 3])
    def test_a_long_event_passes_in_pieces_and_is_counted(self, size: int) -> None:
        body = chunk("x" * 100_000) + chunk() + USAGE + DONE
        found = reader(CHAT)
        assert isinstance(found, StreamReader)
        seen, most = b"", 0
        for at in range(0, len(body), size):
            seen += found.feed(body[at : at + size])
            most = max(most, at + size - len(seen))
        assert seen + found.end() == body.replace(USAGE, b"")
        assert found.events == 2 and found.whole and found.counts == TokenCounts(9, 3)
        assert most <= MOST_HELD + size

    @pytest.mark.parametrize("end", [(b"\r\n\r", b"\n"), (b"\r", b"\n", b"\r", b"\n"), (b"\n", b"\n")])
    def test_an_endless_event_is_not_kept(self, end: tuple[bytes, ...]) -> None:
        found = reader(CHAT)
        piece = b"x" * 60_000
        assert found.feed(b"data: ") == b""
        for _ in range(MOST_READ // len(piece) + 5):
            assert piece in found.feed(piece)
        for part in end[:-1]:
            assert found.feed(part) == part
        assert found.feed(end[-1] + chunk()) == end[-1] + chunk()
        assert found.events == 2

    def test_an_event_that_became_too_long_in_its_end_is_ended_byte_by_byte(self) -> None:
        found = reader(CHAT)
        start = b"data: " + b"x" * (MOST_READ - 8)
        for part in (start, b"\r", b"\n", b"\r"):
            assert found.feed(part) == part
        assert found.feed(b"\n" + chunk()) == b"\n" + chunk()
        assert found.events == 2

    def test_a_long_event_after_one_that_was_too_long_is_read(self) -> None:
        found = reader(CHAT)
        too_long = b"data: " + b"x" * MOST_READ
        assert found.feed(too_long[:-9]) + found.feed(too_long[-9:]) + found.feed(b"xxx") == too_long + b"xxx"
        assert found.feed(b"\n\n") == b"\n\n"
        event = b"data: " + orjson.dumps({"object": "error", "message": "no", "x": "y" * 100_000}) + b"\n\n"
        passed(found, event[:50_000], event[50_000:])
        assert (found.events, found.fault) == (1, "no")

    def test_usage_in_a_long_event_is_found(self) -> None:
        usage = {"input_tokens": 5, "output_tokens": 2}
        response = {"output": ["x" * 100_000], "usage": usage, "instructions": "y" * 100_000}
        event = b"data: " + orjson.dumps({"type": "response.completed", "response": response}) + b"\n\n"
        found = reader(RESPONSES)
        assert passed(found, *(event[at : at + 4096] for at in range(0, len(event), 4096))) == event
        assert found.whole and found.counts == TokenCounts(5, 2)

    def test_an_error_in_a_long_event_ends_the_answer(self) -> None:
        event = b"data: " + orjson.dumps({"object": "error", "message": "no", "x": "y" * 100_000}) + b"\n\n"
        found = reader(CHAT)
        out = passed(found, event[:50_000], event[50_000:] + DONE)
        assert out.startswith(event) and b'"error":{' in out and b"[DONE]" not in out and found.fault == "no"


class TestOtherApis:
    def test_ollama(self) -> None:
        line = b'{"model":"m","message":{"role":"assistant","content":"x"},"done":false}\n'
        last = line.replace(b'"x"', b'""').replace(b"false", b'true,"prompt_eval_count":9,"eval_count":2')
        found = reader(OLLAMA)
        assert passed(found, line[:30], line[30:] + line, last) == line + line + last
        assert (found.events, found.whole, found.counts) == (2, True, TokenCounts(9, 2))

    def test_ollama_without_its_last_line_is_not_whole(self) -> None:
        found = reader(OLLAMA)
        passed(found, b'{"response":"x","done":false}\n')
        assert not found.whole and found.events == 1

    def test_triton_ends_with_its_body(self) -> None:
        event = b'data: {"model_name":"llm","model_version":"1","text_output":"x"}\n\n'
        found = reader(TRITON)
        found.feed(event * 2)
        assert not found.whole
        found.end()
        assert found.whole and found.events == 2

    def test_sglangs_own_api(self) -> None:
        meta = {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4, "finish_reason": None}
        event = b"data: " + orjson.dumps({"text": "x", "meta_info": meta}) + b"\n\n"
        found = reader(PLAIN)
        assert passed(found, event, DONE) == event + DONE
        assert found.counts == TokenCounts(9, 1, 4) and found.events == 1 and found.whole

    def test_a_transcription(self) -> None:
        found = reader("/v1/audio/transcriptions")
        passed(
            found,
            b'data: {"type":"transcript.text.delta","delta":"x"}\n\n',
            b'data: {"type":"transcript.text.done","text":"x","usage":{"input_tokens":9,"output_tokens":1}}\n\n',
        )
        assert found.whole and found.events == 1 and found.counts == TokenCounts(9, 1)

    def test_text_that_is_no_json_is_content_of_an_engines_own_api(self) -> None:
        found = reader(PLAIN)
        assert passed(found, b"data: hello\n\ndata: NaN\n\n") == b"data: hello\n\ndata: NaN\n\n"
        assert found.events == 2 and found.whole


HALF = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null\n\n'


class TestEventsThatAreNoJson:
    @pytest.mark.parametrize("path", [CHAT, COMPLETION, RESPONSES, MESSAGES, TRITON])
    @pytest.mark.parametrize(
        "event", [b"data: hello\n\n", b"data: [1]\n\n", b'data: "x"\n\n', b'data: {"a":\n\n', HALF]
    )
    def test_they_break_the_stream_off(self, path: str, event: bytes) -> None:
        found = reader(path)
        out = passed(found, chunk(), event + chunk() + DONE)
        assert out.startswith(chunk()) and event not in out and b"no JSON object" in out and b"[DONE]" not in out
        assert not found.whole and found.fault == "The engine sent an event that is no JSON object"
        assert found.events <= 1, "it is no token"

    def test_a_line_of_ollama(self) -> None:
        found = reader(OLLAMA)
        assert b"no JSON object" in passed(found, b'{"response":"x","done":false}\n{"response":"x","done":false\n')
        assert found.events == 1 and found.fault

    def test_a_first_one_is_refused(self) -> None:
        for event in (b"data: hello\n\n", HALF):
            refusal = reader(CHAT).first(event)
            assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.UPSTREAM_FAILED

    @pytest.mark.parametrize("content", [b"NaN", b'"\\ud83d"'])
    def test_what_clients_parsers_accept_passes(self, content: bytes) -> None:
        event = chunk().replace(b'"logprobs":null', b'"logprobs":' + content).replace(b"null}]", b'"stop"}]')
        found = reader(CHAT)
        assert passed(found, event, DONE) == event + DONE
        assert found.events == 1 and found.whole and found.first(event) is True
