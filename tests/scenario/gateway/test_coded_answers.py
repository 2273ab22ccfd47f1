"""An engine that compresses its answers, though it was asked not to: they pass, and cost tokens all the same."""

from __future__ import annotations

import gzip
import json

import pytest

from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.request import Outcome, TokenCounts
from tests.fakes.engine import ANSWER, SSE_HEAD, TOKEN, FakeEngine, chunk, raw, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.gateway_stages import Answers
from tests.fakes.raw_http import post

CHAT = {"model": "chat", "messages": [], "temperature": 0}
CODED = gzip.compress(json.dumps({"choices": [{"message": {"content": "An answer. " * 20}}]}).encode())
STREAM = gzip.compress(TOKEN * 40 + b"data: [DONE]\n\n")
CODED_HEAD = SSE_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_coded_answer_passes_and_its_tokens_are_charged(
    streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    body = STREAM if streamed else CODED
    behaviour = raw(CODED_HEAD + chunk(body) + b"0\r\n\r\n") if streamed else whole(200, body, "content-encoding: gzip")
    async with FakeEngine(behaviour) as engine:
        gateway = Gateway(model(backend(engine.url)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        gateway.chooser.caches["chat"] = cache = Answers()
        async with gateway, await gateway.connect() as client:
            for number in (1, 2):
                answer = await client.ask(post({**CHAT, "stream": streamed}))
                assert (answer.status, answer.body, answer.headers["content-encoding"]) == (200, body, "gzip")
                record = await gateway.record(number)
        assert {request.headers["accept-encoding"] for request in engine.requests} == {"identity"}
    assert (record.outcome, record.estimated) == (Outcome.OK, True)
    expected = len(body) // (8 if streamed else 2)
    assert record.completion_tokens == expected > 0
    assert gateway.limits.reservations[-1].counts == TokenCounts(record.prompt_tokens, expected, estimated=True)
    assert cache.kept == {}, "another client may not read the coding"
    (line,) = caplog.messages
    assert gateway.chooser.choices[0].backend.url in line and "turn compression off" in line


async def test_a_coding_passes_where_no_tokens_are_read(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeEngine(whole(200, gzip.compress(ANSWER), "content-encoding: gzip")) as engine:
        gateway = Gateway(model(backend(engine.url)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            answer = await client.ask(post(b"{}", "/v2/models/chat/infer", "Accept-Encoding: gzip"))
    assert answer.headers["content-encoding"] == "gzip"
    assert engine.requests[0].headers["accept-encoding"] == "gzip"
    assert caplog.messages == []
