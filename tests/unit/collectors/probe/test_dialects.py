"""Each protocol of a probe against a real server that is good, empty, cut, in error or refuses the question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web

from collectors.probe.dialects import PROTOCOLS
from collectors.probe.question import Expectation, Question, Tensor, Tensors
from collectors.probe.source import ProbeSource
from collectors.target import Auth
from controlplane.config.scraping.probe import ProtocolName
from tests.unit.collectors.probe.test_source import DONE, SLOW_S, Read, ask, chat, serving, streaming

FIELD = json.loads((Path(__file__).parents[3] / "fixtures/field/probe-request-fixed.json").read_text())
SSE, JSON, LINES = "text/event-stream", "application/json", "application/x-ndjson"


def sse(*messages: Any) -> str:
    return "".join(f"data: {json.dumps(message)}\n\n" for message in messages)


INFER = Tensors(inputs=(Tensor("x", "FP32", (1,), (0.5,)),))
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "pong"}}
CASES = [
    ("/v1/chat/completions", SSE, chat("pong", "stop") + DONE, chat("pong")),
    ("/v1/embeddings", JSON, '{"data":[{"embedding":[1,2.5]}]}', '{"data":[{'),
    ("/v1/rerank", JSON, '{"results":[{"index":1,"relevance_score":0.9}]}', '{"results":'),
    ("/rerank", JSON, '{"data":[{"index":1,"score":0.9}]}', '{"data":'),
    ("/v1/messages", SSE, sse({"type": "message_start"}, DELTA, {"type": "message_stop"}), sse(DELTA)),
    (
        "/api/chat",
        LINES,
        '{"message":{"content":"pong"},"done":false}\n{"message":{},"done":true}\n',
        '{"message":{"content":"pong"},"done":false}\n',
    ),
    ("/api/generate", LINES, '{"response":"pong","done":true}', '{"response":"pong","done":false}\n'),
    ("/api/embed", JSON, '{"embeddings":[[1,2]]}', '{"embeddings":'),
    ("/v2/models/m/infer", JSON, '{"outputs":[{"name":"y","data":[1]}]}', '{"outputs":'),
    ("/v1/models/m:predict", JSON, '{"predictions":[1]}', '{"predictions":'),
]


@pytest.mark.parametrize(("path", "content_type", "good", "cut"), CASES, ids=[case[0] for case in CASES])
async def test_each_protocol(path: str, content_type: str, good: str, cut: str) -> None:
    error = '{"error":"out of memory"}'
    if content_type == SSE:
        error = f"data: {error}\n\n"
    found = []
    for body in (good, cut, "", error):
        async with serving(path, streaming(*([body] if body else []), content_type=content_type)) as url:
            found.append(next(iter((await ask(url, tensors=INFER)).outcomes)))

    assert found == [
        ("success", ""),
        ("error", "malformed" if content_type == JSON else "cut"),
        ("error", "empty"),
        ("error", "stream_error"),
    ]


@pytest.mark.parametrize("path", [case[0] for case in CASES])
async def test_a_misfit_is_invalid_until_the_question_was_answered(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = next(case for case in CASES if case[0] == path)
    answers = [422, 200, 422]

    async def handler(request: web.Request) -> web.StreamResponse:
        if answers.pop(0) == 422:
            return web.json_response({"error": {"message": f"no k3y-value\n{'x' * 300}"}}, status=422)
        return await streaming(good[2], content_type=good[1])(request)

    monkeypatch.setenv("PROBE_KEY", "k3y-value")
    async with serving(path, handler) as url:
        auth = Auth(credentials_env="PROBE_KEY")
        probe = ProbeSource(url, model="chat", questions=(Question(tensors=INFER),), auth=auth)
        try:
            await probe.read(SLOW_S)
            remark = probe.remark
            await probe.read(SLOW_S)
            read = Read(await probe.read(SLOW_S))
        finally:
            await probe.close()

    said = f"no *** {'x' * 192}…"
    assert remark == (
        f"the probe's question does not fit chat at {url}: the server answered 422: {said}; "
        "set parameters: of this target"
    )
    assert probe.remark == ""
    assert read.outcomes == {("invalid", "http_422"): 1, ("success", ""): 1, ("error", "http_422"): 1}


@pytest.mark.parametrize(
    ("port", "path", "outcome"),
    [
        ("18305", "/v1/chat/completions", ("invalid", "token_limit")),
        ("18306", "/v2/models/ensemble/generate_stream", ("invalid", "http_400")),
        ("18307", "/v1/chat/completions", ("error", "stream_error")),
        ("18308", "/v1/chat/completions", ("invalid", "http_400")),
        ("18309", "/v1/chat/completions", ("success", "")),
        ("18311", "/v1/chat/completions", ("success", "")),
        ("18312", "/v1/chat/completions", ("success", "")),
        ("18315", "/v1/chat/completions", ("error", "stream_error")),
        ("18316", "/v2/models/m/generate_stream", ("success", "")),
    ],
)
async def test_captured_answers(port: str, path: str, outcome: tuple[str, str]) -> None:
    answer = FIELD[port]["*"]

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=answer["body"], status=answer.get("status", 200), headers=answer["headers"])

    async with serving(path, handler) as url:
        assert (await ask(url)).outcomes == {outcome: 1}


async def test_questions_are_asked_in_turn_and_a_wrong_answer_is_an_error() -> None:
    asked: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return await streaming(chat("4", "stop"), DONE)(request)

    questions = (
        Question("2+2?", parameters={"max_tokens": None, "seed": 1}, expect=Expectation(regex="^4$")),
        Question("3+3?", max_tokens=3, expect=Expectation(contains="6")),
    )
    async with serving("/v1/chat/completions", handler) as url:
        read = await ask(url, times=3, questions=questions)

    assert [body["messages"][0]["content"] for body in asked] == ["2+2?", "3+3?", "2+2?"]
    assert [(body.get("max_tokens"), body.get("seed")) for body in asked[:2]] == [(None, 1), (3, None)]
    assert read.outcomes == {("success", ""): 2, ("error", "unexpected_answer"): 1}


@pytest.mark.parametrize(("dimension", "outcome"), [(2, ("success", "")), (3, ("error", "unexpected_answer"))])
async def test_an_embedding_has_a_dimension(dimension: int, outcome: tuple[str, str]) -> None:
    async with serving("/v1/embeddings", streaming('{"data":[{"embedding":[1,2]}]}', content_type=JSON)) as url:
        assert (await ask(url, expect=Expectation(dimension=dimension))).outcomes == {outcome: 1}


def test_the_configuration_names_every_protocol() -> None:
    assert get_args(ProtocolName) == PROTOCOLS
