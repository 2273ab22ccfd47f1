"""The reason of an answer's end, its emptiness and its refusal are seen in each API, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from controlplane.gateway.dialects.answers.body import MOST_KEPT
from controlplane.gateway.request import Ask, Content, Finish
from controlplane.gateway.seams import AnswerReader
from tests.fakes.gateway_requests import DIALECTS, operation
from tests.unit.controlplane.gateway.dialects.test_captured import ANSWERS, EXPECTED, PATHS, load

CHAT, COMPLETION, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, OLLAMA, GENERATE = "/v1/messages", "/api/chat", "/api/generate"
TRITON, TRITON_STREAM = "/v2/models/llm/generate", "/v2/models/llm/generate_stream"
SAID = Content(Finish.STOP, said=True)
CUT_OFF = Content(Finish.LENGTH, said=True)
EMPTY = Content(Finish.STOP)
REFUSED = Content(Finish.STOP, said=True, refused=True)
FILTERED = Content(Finish.CONTENT_FILTER, said=True, refused=True)
CALLS = Content(Finish.TOOL_CALLS, said=True)


def reader(path: str, *, stream: bool = False) -> AnswerReader:
    kind = b"application/json"
    if stream:
        kind = b"application/x-ndjson" if path in (OLLAMA, GENERATE) else b"text/event-stream"
    ask = Ask(operation("POST", path, x_model="m"), "m", stream=stream)
    return DIALECTS.reader(ask, 200, [(b"content-type", kind)])


def streamed(path: str, *events: dict[str, Any]) -> Content | None:
    """Return the facts of a stream, the same for each event in a piece of its own, in one piece, and byte by byte."""
    lines = [b"%b\n" if path in (OLLAMA, GENERATE) else b"data: %b\n\n"]
    pieces = [lines[0] % orjson.dumps(event) for event in events]
    whole = b"".join(pieces)
    found = []
    for split in (pieces, [whole], [whole[at : at + 1] for at in range(len(whole))]):
        read = reader(path, stream=True)
        for piece in split:
            read.feed(piece)
        read.end()
        found.append(read.content)
    assert found[0] == found[1] == found[2]
    return found[0]


def whole(path: str, document: object) -> Content | None:
    read = reader(path)
    read.feed(orjson.dumps(document))
    read.end()
    return read.content


def message(finish: str | None, **members: Any) -> dict[str, Any]:
    """Return a chat's answer with vLLM's members."""
    absent = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "reasoning_content": None}
    given = {"role": "assistant", "content": None, **absent, "tool_calls": [], **members}
    return {"choices": [{"index": 0, "message": given, "logprobs": {"content": [1]}, "finish_reason": finish}]}


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "logprobs": None, "finish_reason": finish}]}


def response(status: str, *output: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    details = None if reason is None else {"reason": reason}
    return {"object": "response", "status": status, "incomplete_details": details, "output": list(output)}


def text(words: str, kind: str = "output_text") -> dict[str, Any]:
    member = "refusal" if kind == "refusal" else "text"
    return {"type": "message", "content": [{"type": kind, member: words}]}


@pytest.mark.parametrize(
    ("path", "document", "facts"),
    [
        (CHAT, message("stop", content="hi"), SAID),
        (CHAT, message("length", content="hi" * 1000), CUT_OFF),
        (CHAT, message("length", content='"\\n' * 1000), CUT_OFF),
        (CHAT, message("stop", content=" \n\t"), EMPTY),
        (CHAT, message("stop", content=""), EMPTY),
        (CHAT, message("stop"), EMPTY),
        (CHAT, message("stop", content=[{"type": "text", "text": "hi"}]), SAID),
        (CHAT, message("stop", content=[{"type": "text", "text": " "}]), EMPTY),
        (CHAT, message("stop", reasoning_content="well"), SAID),
        (CHAT, message("stop", refusal="I cannot help with that."), REFUSED),
        (CHAT, message("content_filter", content="hi"), FILTERED),
        (CHAT, message("tool_calls", tool_calls=[{"id": "1", "function": {"name": "f"}}]), CALLS),
        (CHAT, message("function_call", function_call={"name": "f"}), CALLS),
        (CHAT, message("insufficient_system_resource", content="h"), Content(Finish.OTHER, said=True)),
        (CHAT, message(None, content="hi"), Content(Finish.NONE, said=True)),
        (CHAT, {"choices": []}, Content()),
        (CHAT, {"choices": {"0": "not a list"}}, Content()),
        (CHAT, {"choices": [{"message": "not an object", "finish_reason": 7}]}, Content()),
        (COMPLETION, {"choices": [{"text": "x", "finish_reason": "length"}]}, CUT_OFF),
        (COMPLETION, {"choices": [{"text": "\n", "finish_reason": "stop"}]}, EMPTY),
        (RESPONSES, response("completed", text("hi")), SAID),
        (RESPONSES, response("completed", text(" ")), EMPTY),
        (RESPONSES, response("completed", text("No.", "refusal")), REFUSED),
        (RESPONSES, response("completed", {"type": "function_call", "name": "f"}), CALLS),
        (RESPONSES, response("incomplete", text("hi"), reason="max_output_tokens"), CUT_OFF),
        (RESPONSES, response("incomplete", text("hi"), reason="content_filter"), FILTERED),
        (RESPONSES, response("incomplete", text("hi")), Content(Finish.OTHER, said=True)),
        (MESSAGES, {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"}, SAID),
        (MESSAGES, {"type": "message", "content": [], "stop_reason": "end_turn"}, EMPTY),
        (MESSAGES, {"type": "message", "content": [{"type": "tool_use"}], "stop_reason": "tool_use"}, CALLS),
        (
            MESSAGES,
            {"type": "message", "content": [], "stop_reason": "refusal"},
            Content(Finish.CONTENT_FILTER, refused=True),
        ),
        (OLLAMA, {"message": {"content": "x"}, "done": True, "done_reason": "length"}, CUT_OFF),
        (OLLAMA, {"message": {"content": ""}, "done": True, "done_reason": "stop"}, EMPTY),
        (GENERATE, {"response": "x", "done": True, "done_reason": "stop"}, SAID),
        (GENERATE, {"response": "", "done": True, "done_reason": "load"}, Content(Finish.OTHER)),
        (TRITON, {"model_name": "llm", "text_output": "x", "cum_log_probs": 0.5}, Content(said=True)),
        (TRITON, {"model_name": "llm", "text_output": "", "output_log_probs": [0.5]}, Content()),
        (TRITON, {"model_name": "llm", "text_output": ["x"], "finish_reason": "length"}, CUT_OFF),
        (TRITON, {"model_name": "llm", "text_output": "x", "finish_reason": "None"}, Content(said=True)),
        ("/v1/embeddings", {"data": []}, None),
        ("/v1/chat/completions/batch", {"choices": []}, None),
        ("/v2/models/llm/infer", {"outputs": []}, None),
    ],
)
def test_a_whole_answer(path: str, document: object, facts: Content | None) -> None:
    assert whole(path, document) == facts


ROLE = delta(role="assistant", content="")
CREATED = {"type": "response.created", "response": response("in_progress")}
BEGIN = {"type": "message_start", "message": {"content": [], "stop_reason": None}}


def block(**content_block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": content_block}


def piece(**members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": members}


def end(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}}


@pytest.mark.parametrize(
    ("path", "events", "facts"),
    [
        (CHAT, [ROLE, delta(content="hi"), delta(content="!"), delta("stop")], SAID),
        (CHAT, [ROLE, delta(content=""), delta(content="\n"), delta("stop")], EMPTY),
        (CHAT, [ROLE, delta("stop")], EMPTY),
        (CHAT, [ROLE, delta(content=" "), delta("length", content="hi")], CUT_OFF),
        (CHAT, [ROLE, delta(refusal="I can"), delta(refusal="not"), delta("stop")], REFUSED),
        (CHAT, [ROLE, delta(reasoning_content="well"), delta("length")], CUT_OFF),
        (CHAT, [ROLE, delta(tool_calls=[{"index": 0}]), delta("tool_calls")], CALLS),
        (CHAT, [ROLE, delta(content="x" * 70_000), delta("stop")], SAID),
        (CHAT, [ROLE, delta(content="hi"), delta("content_filter")], FILTERED),
        (
            COMPLETION,
            [{"choices": [{"text": "x", "finish_reason": None}]}, {"choices": [{"text": "", "finish_reason": "stop"}]}],
            SAID,
        ),
        (
            RESPONSES,
            [
                CREATED,
                {"type": "response.output_text.delta", "delta": "x"},
                {"type": "response.completed", "response": response("completed", text("x"))},
            ],
            SAID,
        ),
        (
            RESPONSES,
            [
                CREATED,
                {"type": "response.refusal.delta", "delta": "No"},
                {"type": "response.completed", "response": response("completed")},
            ],
            REFUSED,
        ),
        (
            RESPONSES,
            [
                CREATED,
                {
                    "type": "response.incomplete",
                    "response": response("incomplete", text("x" * 70_000), reason="max_output_tokens"),
                },
            ],
            CUT_OFF,
        ),
        (RESPONSES, [CREATED, {"type": "response.completed", "response": response("completed")}], EMPTY),
        (MESSAGES, [BEGIN, block(type="text", text=""), piece(type="text_delta", text="x"), end("end_turn")], SAID),
        (MESSAGES, [BEGIN, block(type="text", text=""), end("end_turn")], EMPTY),
        (
            MESSAGES,
            [BEGIN, block(type="tool_use", name="f"), piece(type="input_json_delta", partial_json=""), end("tool_use")],
            CALLS,
        ),
        (
            MESSAGES,
            [
                BEGIN,
                block(type="thinking", thinking=""),
                piece(type="thinking_delta", thinking="hm"),
                end("max_tokens"),
            ],
            CUT_OFF,
        ),
        (MESSAGES, [BEGIN, end("refusal")], Content(Finish.CONTENT_FILTER, refused=True)),
        (
            OLLAMA,
            [
                {"message": {"content": "x"}, "done": False},
                {"message": {"content": ""}, "done": True, "done_reason": "stop"},
            ],
            SAID,
        ),
        (
            OLLAMA,
            [
                {"message": {"content": ""}, "done": False},
                {"message": {"content": ""}, "done": True, "done_reason": "stop"},
            ],
            EMPTY,
        ),
        (
            GENERATE,
            [{"response": "x", "done": False}, {"response": "", "done": True, "done_reason": "length"}],
            CUT_OFF,
        ),
        (TRITON_STREAM, [{"model_name": "m", "text_output": ""}, {"model_name": "m", "text_output": ""}], Content()),
        (
            TRITON_STREAM,
            [{"model_name": "m", "text_output": ""}, {"model_name": "m", "text_output": "x"}],
            Content(said=True),
        ),
    ],
)
def test_a_stream(path: str, events: list[dict[str, Any]], facts: Content) -> None:
    assert streamed(path, *events) == facts


@pytest.mark.parametrize("said", [True, False])
def test_a_stream_of_an_engine_that_writes_spaces(said: bool) -> None:
    read = reader(CHAT, stream=True)
    for event in (ROLE, delta(content=""), delta(content="hi" if said else ""), delta("stop")):
        read.feed(b"data: %b\n\n" % json.dumps(event).encode())
    assert read.content == (SAID if said else EMPTY)


def test_the_worst_end_of_several_choices_counts() -> None:
    choices = [{"text": "a", "finish_reason": reason} for reason in ("length", "stop", "tool_calls")]
    assert whole(COMPLETION, {"choices": choices}) == CUT_OFF


def test_the_end_of_a_body_that_is_not_parsed() -> None:
    document = message("length", content='said "finish_reason":"content_filter" ' + "x" * 2 * MOST_KEPT)
    assert whole(CHAT, document) == CUT_OFF


def test_after_the_first_content_no_event_is_parsed() -> None:
    """A quiet event that is no JSON passes as content. It would not, if it were parsed."""
    read = reader(CHAT, stream=True)
    for event in (ROLE, delta(content="hi")):
        read.feed(b"data: %b\n\n" % orjson.dumps(event))
    before = read.events
    assert read.feed(b'data: {"refusal":"x"}{"finish_reason":null}\n\n')
    assert read.events == before + 1 and read.content == Content(said=True)


ENDED = [name for name, (events, counts, fault) in EXPECTED.items() if counts.completion and not fault]


@pytest.mark.parametrize("name", ENDED)
def test_what_real_engines_answered(name: str) -> None:
    """All of them were asked for at most as many tokens as they wrote."""
    kind = name.partition("/")[2].removesuffix("-usage")
    status, fields, body = load(ANSWERS / f"{name}.http")
    path = PATHS.get(kind.removesuffix("-stream"), CHAT)
    read = DIALECTS.reader(Ask(operation("POST", path), "chat", stream=kind.endswith("-stream")), status, fields)
    read.feed(body)
    read.end()
    assert read.content == CUT_OFF
