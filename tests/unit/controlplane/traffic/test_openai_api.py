"""Engines with OpenAI's API: their readiness, and the judgement of an answer to a question."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.errors import Unavailable
from controlplane.traffic.driver import NotSent, Question, VersionState
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.engines.openai import OpenAiApi, fault
from tests.fakes.openai_server import OpenAiServer

READY, LOADING, UNAVAILABLE = VersionState.READY, VersionState.LOADING, VersionState.UNAVAILABLE
TEXT = {"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def stream(*events: Any, done: bool = True) -> bytes:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return b"".join(f"data: {text}\n\n".encode() for text in (*texts, *(["[DONE]"] if done else [])))


def whole(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


ANSWERS = [
    (stream(TEXT, END), ""),
    (stream(TEXT, END, done=False), ""),
    (b": ping\n\n" + stream(TEXT), ""),
    (stream({"choices": [{"text": "hi", "finish_reason": "length"}]}), ""),
    (stream({"choices": [{"delta": {"reasoning_content": "hm"}}]}), ""),
    (stream({"choices": [{"delta": {"tool_calls": [{"id": "a"}]}}]}), ""),
    (whole(choices=[{"message": {"content": "hi"}, "finish_reason": "stop"}]), ""),
    (whole(data=[{"embedding": [0.1]}]), ""),
    (stream(TEXT, done=False), "its stream ended without [DONE] or a finish_reason"),
    (stream(END), "answered 200 without any output"),
    (stream(), "answered 200 without any output"),
    (b"", "answered 200 without any output"),
    (b"data: {not json\n\n" + stream(), "answered 200 without any output"),
    (b"data: a\nnonsense\n\n", "answered 200 without any output"),
    (whole(choices=[]), "answered 200 without any output"),
    (whole(choices="a"), "answered 200 without any output"),
    (b"[" * 100_000, "answered 200 without any output"),
    (stream({"error": {"message": "out of\nmemory"}}), "answered with an error: out of memory"),
    (stream(TEXT, {"error": {"message": "CUDA"}}), "answered with an error: CUDA"),
    (stream({"error": "no such model", "error_type": "x"}), "answered with an error: no such model"),
    (stream({"object": "error", "message": "queue is full"}), "answered with an error: queue is full"),
    (stream({"error": {"code": 7}}), 'answered with an error: {"code": 7}'),
]


@pytest.mark.parametrize(("body", "expected"), ANSWERS, ids=[str(body[:50]) for body, _ in ANSWERS])
def test_an_answer_is_good_only_with_output_and_an_end(body: bytes, expected: str) -> None:
    assert fault(Question("chat/completions"), 200, body) == expected


def test_another_status_is_a_fault_unless_it_is_the_one_that_is_wanted() -> None:
    refused = whole(error={"message": "too long"})
    assert fault(Question("completions"), 400, refused) == "answered 400 instead of 200: too long"
    assert fault(Question("completions"), 502, b"<html>") == "answered 502 instead of 200"
    assert fault(Question("completions", status=400), 400, refused) == ""


@pytest.fixture
async def engine() -> AsyncIterator[OpenAiServer]:
    async with OpenAiServer("llama", "adapter") as server:
        yield server


@pytest.mark.parametrize(
    ("health", "listing", "served", "expected"),
    [
        (200, 200, "llama", (READY, "")),
        (200, 200, "adapter", (READY, "")),
        (200, 404, "llama", (READY, "")),
        (404, 200, "llama", (READY, "")),
        (503, 200, "llama", (LOADING, "U/health answers 503")),
        (500, 200, "llama", (UNAVAILABLE, "U/health answers 500")),
        (404, 404, "llama", (UNAVAILABLE, "U has neither /health nor /v1/models (it answers 404)")),
        (200, 200, "other", (UNAVAILABLE, "U serves llama, adapter and not other; set model: of the version")),
    ],
)
async def test_the_state_of_a_served_model(
    engine: OpenAiServer, health: int, listing: int, served: str, expected: tuple[VersionState, str]
) -> None:
    engine.health, engine.listing = health, listing
    async with open_session() as session:
        state, reason = await OpenAiApi(engine.url, session).state(served)
    assert (state, reason.replace(engine.url, "U")) == expected


async def test_a_question_names_the_served_model(engine: OpenAiServer) -> None:
    async with open_session() as session:
        api = OpenAiApi(f"{engine.url}/", session)
        good = await api.ask("llama", Question("chat/completions", {"stream": True, "model": "chat"}))
        assert (good.url, good.fault) == (engine.url, "") and 0 < (good.first_s or 0) <= good.seconds
        assert good.body == stream(TEXT, END) and "hi" not in repr(good), "answers are private"
        engine.status = 503
        bad = await api.ask("llama", Question("completions"))
        assert (bad.fault, bad.first_s) == ("answered 503 instead of 200: overloaded", None)
        engine.status, engine.hangs = 200, True
        with pytest.raises(Unavailable, match=r"did not answer /v1/completions within 0\.2 s"):
            await api.ask("llama", Question("completions", timeout_s=0.2))
    assert engine.asked[0] == ("chat/completions", {"stream": True, "model": "llama"})


async def test_a_server_that_is_not_there_was_not_asked() -> None:
    async with open_session() as session:
        with pytest.raises(NotSent):
            await OpenAiApi("http://127.0.0.1:1", session).ask("llama", Question("completions"))
