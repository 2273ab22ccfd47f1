"""Answers in one body that are no answers, read as in production: none of them counts as a success."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.request import Outcome
from tests.fakes.engine import ANSWER, Behaviour, FakeEngine, raw, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import Broken, post

CHAT: dict[str, Any] = {"model": "chat", "messages": []}
LATE_ERROR = json.dumps({"id": "x", "error": {"message": "boom"}}).encode()
ABORTED = b'{"choices":[{"message":{"content":"A"},"finish_reason":"abort"}]}'
HALF = ANSWER[:20]


def in_chunks(body: bytes) -> Behaviour:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


@pytest.mark.parametrize("body", [LATE_ERROR, ABORTED, HALF, b""])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_in_a_body_is_an_error(body: bytes, stream: bool) -> None:
    async with FakeEngine(whole(200, body)) as engine:
        gateway = Gateway(model(backend(engine.url)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            await client.send(post({**CHAT, "stream": stream}))
            if stream and body:
                with pytest.raises(Broken):
                    await client.answer()
            else:
                await client.answer()
            assert (await gateway.record()).outcome is Outcome.ERROR
            assert gateway.chooser.choices[0].released == [Outcome.ERROR]


@pytest.mark.parametrize("body", [LATE_ERROR, ABORTED, HALF])
async def test_a_faulty_body_in_chunks_does_not_look_finished(body: bytes) -> None:
    async with FakeEngine(in_chunks(body)) as engine:
        gateway = Gateway(model(backend(engine.url)))
        gateway.dialects = AllDialects()  # type: ignore[assignment]
        async with gateway, await gateway.connect() as client:
            await client.send(post(CHAT))
            with pytest.raises(Broken) as broken:
                await client.answer()
            assert broken.value.body == body
            assert (await gateway.record()).reason == "body_error"
