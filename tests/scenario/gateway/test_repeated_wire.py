"""Requests and answers whose heads come again: each one is served as if it were the first."""

from __future__ import annotations

import json
from typing import Any

from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.limits.keys import Keys
from controlplane.gateway.request import Outcome
from tests.fakes.engine import FakeEngine, dies_at_once, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.limits import SECRET, key
from tests.fakes.raw_http import post

KEY = f"Authorization: Bearer cpk_ab12_{SECRET}"


def chat(text: str, *lines: str) -> bytes:
    body: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": text}]}
    return post(body, "/v1/chat/completions", KEY, *lines)


def gateway_at(*engines: FakeEngine) -> Gateway:
    gateway = Gateway(model(*(backend(engine.url) for engine in engines)))
    gateway.dialects = AllDialects()  # type: ignore[assignment]
    return gateway


async def test_each_request_reaches_the_engine_with_its_own_body_and_trace() -> None:
    answers = [json.dumps({"choices": [], "id": "x" * size}).encode() for size in range(6)]
    script = [whole(200, body, f"x-request-id: engine-{number}") for number, body in enumerate(answers)]
    async with FakeEngine(*script) as engine, gateway_at(engine) as gateway, await gateway.connect() as client:
        for number, body in enumerate(answers):
            text = "y" * (number // 2)
            answer = await client.ask(chat(text, f"traceparent: 00-{number:032x}-1-01", f"X-Request-Id: mine-{number}"))
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["x-request-id"] == f"mine-{number}"
            assert answer.headers["content-length"] == str(len(body))
            request = engine.requests[number]
            assert json.loads(request.body)["messages"][0]["content"] == text
            assert request.headers["content-length"] == str(len(request.body))
            assert request.headers["traceparent"] == f"00-{number:032x}-1-01"
            assert request.headers["x-request-id"] == f"mine-{number}"
            assert "authorization" not in request.headers
        assert [record.request_id for record in gateway.recorder.records] == [f"mine-{n}" for n in range(6)]


async def test_a_key_that_is_revoked_between_two_requests_opens_nothing() -> None:
    async with FakeEngine(whole()) as engine, gateway_at(engine) as gateway, await gateway.connect() as client:
        keys = Keys((key(),), required=True)
        gateway.limits.authenticate = lambda head, unix: keys.authenticate(head, unix)  # type: ignore[method-assign]
        assert [(await client.ask(chat("a"))).status for _ in range(4)] == [200] * 4
        keys = Keys((), required=True)
        assert [(await client.ask(chat("a"))).status for _ in range(2)] == [401] * 2
        assert len(engine.requests) == 4
        keys = Keys((key(tenant="globex"),), required=True)
        assert (await client.ask(chat("a"))).status == 200
        assert (await gateway.record(7)).tenant == "globex"


async def test_a_refused_request_with_a_known_head_keeps_its_connection() -> None:
    async with FakeEngine(whole()) as engine, gateway_at(engine) as gateway, await gateway.connect() as client:
        assert [(await client.ask(chat("a"))).status for _ in range(3)] == [200] * 3
        wrong = chat("a").replace(b'"chat"', b'"tahc"')
        assert (await client.ask(wrong)).status == 404
        assert (await client.ask(chat("a"))).status == 200
        assert gateway.server.connections == 1


async def test_an_engine_that_dies_behind_known_answers_is_told_of() -> None:
    script = [whole(), whole(), whole(), dies_at_once]
    async with FakeEngine(*script) as engine, gateway_at(engine) as gateway, await gateway.connect() as client:
        assert [(await client.ask(chat("a"))).status for _ in range(4)] == [200, 200, 200, 502]
        assert (await gateway.record(4)).outcome is Outcome.ERROR
