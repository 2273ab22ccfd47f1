"""Answers in one body that are no answers, read as in production: none of them counts as a success."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.request import Outcome
from tests.fakes.engine import ANSWER, Behaviour, FakeEngine, Turn, chunk, raw, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import post
from tests.patience import HANG_S

CHAT: dict[str, Any] = {"model": "chat", "messages": []}
LATE_ERROR = json.dumps({"id": "x", "error": {"message": "boom"}}).encode()
ABORTED = b'{"choices":[{"message":{"content":"A"},"finish_reason":"abort"}]}'
HALF = ANSWER[:20]


def in_chunks(body: bytes) -> Behaviour:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


@pytest.mark.parametrize("body", [LATE_ERROR, ABORTED, HALF, b""])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answers", [lambda body: whole(200, body), in_chunks])
async def test_a_faulty_body_that_is_there_whole_is_a_502(
    body: bytes, stream: bool, answers: Callable[[bytes], Behaviour]
) -> None:
    async with FakeEngine(answers(body)) as engine:
        gateway = Gateway(model(backend(engine.url)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            answer = await client.ask(post({**CHAT, "stream": stream}))
            assert answer.status == 502 and answer.json["error"]["message"]
            assert (await gateway.record()).outcome is Outcome.ERROR
            assert gateway.chooser.choices[0].released == [Outcome.ERROR]


@pytest.mark.parametrize("body", [LATE_ERROR, ABORTED, HALF])
@pytest.mark.parametrize("sized", [False, True])
async def test_a_faulty_body_that_comes_in_pieces_does_not_look_finished(body: bytes, sized: bool) -> None:
    begun = asyncio.Event()
    length = b"content-length: %d" % len(body) if sized else b"transfer-encoding: chunked"

    async def answer(turn: Turn) -> None:
        parts = [body[:9], body[9:]]
        if not sized:
            parts = [chunk(parts[0]), chunk(parts[1]) + b"0\r\n\r\n"]
        await turn.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%b\r\n\r\n" % length + parts[0])
        await asyncio.wait_for(begun.wait(), HANG_S)
        await turn.send(parts[1])

    async with FakeEngine(answer) as engine:
        gateway = Gateway(model(backend(engine.url)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            await client.send(post(CHAT))
            assert (await client.head()).status == 200
            begun.set()
            assert body not in await client.ended()
            assert (await gateway.record()).reason == "body_error"
