"""An engine that refuses the gateway's credentials. No client reads of it as if its own key were wrong."""

from __future__ import annotations

import logging

import pytest

from controlplane.gateway.dialects.dialects import AllDialects
from controlplane.gateway.exchange.engine_words import LONGEST, redacted
from controlplane.gateway.request import Outcome
from tests.fakes.engine import DONE, FakeEngine, event, stream, whole
from tests.fakes.gateway import Gateway, backend, model
from tests.fakes.raw_http import Message, post

CHAT = "/v1/chat/completions"
BODY = b'{"error":{"message":"Incorrect API key provided: sk-abc123def456ghi.","code":"invalid_api_key"}}'
EVENT = event(error={"message": "Incorrect API key provided: sk-abc123def456ghi.", "code": 401})


async def answer_of(gateway: Gateway, body: dict[str, object]) -> Message:
    gateway.dialects = AllDialects()  # type: ignore[assignment]
    async with gateway, await gateway.connect() as client:
        return await client.ask(post({"model": "chat", "messages": [], **body}))


@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize("streamed", [True, False])
async def test_the_client_gets_a_502_without_the_engines_words(
    status: int, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    line = 'www-authenticate: Bearer realm="engine"'
    async with FakeEngine(whole(status, BODY, line)) as engine:
        gateway = Gateway(model(backend(engine.url)))
        with caplog.at_level(logging.ERROR, "controlplane.gateway"):
            answer = await answer_of(gateway, {"stream": streamed})
    assert answer.status == 502 and "www-authenticate" not in answer.headers
    assert answer.json["error"]["message"] == "The engine of chat v1 refuses the gateway's credentials"
    assert b"API key" not in answer.body
    record = gateway.recorder.records[0]
    assert (record.outcome, record.reason) == (Outcome.ERROR, f"http_{status}")
    assert gateway.chooser.choices[0].released == [Outcome.ERROR]
    (said,) = caplog.messages
    assert (
        gateway.chooser.choices[0].backend.url in said
        and f"http_{status}" in said
        and "Incorrect API key provided: ***" in said
    )
    assert "sk-abc" not in said


@pytest.mark.parametrize("begin", [[EVENT], [event(choices=[{"delta": {"content": "A"}}]), EVENT]])
async def test_the_words_do_not_pass_in_an_event(begin: list[bytes]) -> None:
    async with FakeEngine(stream(*begin, DONE)) as engine, Gateway(model(backend(engine.url))) as gateway:
        gateway.server.dialects = AllDialects()
        async with await gateway.connect() as client:
            await client.send(post({"model": "chat", "messages": [], "stream": True}, CHAT, "Connection: close"))
            sent = await client.ended()
    assert b"API key" not in sent and b"refuses the gateway's credentials" in sent and b"[DONE]" not in sent
    assert gateway.recorder.records[0].outcome is Outcome.ERROR


@pytest.mark.parametrize("behaviour", [whole(401, BODY), stream(EVENT, DONE)])
async def test_another_engine_is_asked(behaviour: object) -> None:
    async with FakeEngine(behaviour) as engine, FakeEngine(whole()) as other:  # type: ignore[arg-type]
        answer = await answer_of(Gateway(model(backend(engine.url), backend(other.url))), {"stream": True})
    assert answer.status == 200 and len(other.requests) == 1


async def test_an_engine_names_no_key_in_any_answer() -> None:
    async with FakeEngine(whole(404, BODY, "www-authenticate: Basic")) as engine:
        answer = await answer_of(Gateway(model(backend(engine.url))), {})
    assert answer.status == 404 and "www-authenticate" not in answer.headers


async def test_the_log_has_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        FakeEngine(whole(401, BODY)) as engine,
        Gateway(model(backend(engine.url))) as gateway,
        await gateway.connect() as client,
    ):
        for seconds in (0.0, 1.0, 60.0):
            gateway.clock.skip(seconds)
            await client.ask(post({"model": "chat"}))
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("plain words", "plain words"),
        ("key sk-abcdefghij1 is wrong", "key *** is wrong"),
        ("a\r\nb\tc", "a b c"),
        ("\x1b[31mred", "?[31mred"),
        ("\u202egnp", "\\u202egnp"),
        ("x" * 5000, "x" * (LONGEST - 3) + "..."),
        ("1a" * 5000, "***"),
    ],
)
def test_words_in_the_log_are_short_and_without_keys(words: str, line: str) -> None:
    assert redacted(words) == line
