"""What is tried again, at which engine, and which model answers instead, over raw sockets."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.gateway.request import Caller, Outcome
from tests.fakes.engine import (
    ANSWER,
    DONE,
    TOKEN,
    FakeEngine,
    closes_unanswered,
    dies_at_once,
    error_then_done,
    queue_full,
    stream,
    whole,
)
from tests.fakes.gateway import BUSY, CHAT, STREAM, Gateway, backend, closed_port, model
from tests.fakes.raw_http import RawClient, post


async def test_an_engine_that_cannot_be_reached_is_followed_by_another(second: FakeEngine) -> None:
    async with (
        Gateway(model(backend(closed_port()), backend(second.url))) as gateway,
        await gateway.connect() as client,
    ):
        assert (await client.ask(post(CHAT))).status == 200
        record = await gateway.record()
        assert (record.outcome, record.attempts, record.backend) == (Outcome.OK, 2, second.url)
        assert gateway.recorder.retries == ["connect"]
        assert [choice.released for choice in gateway.chooser.choices] == [[Outcome.ERROR], [Outcome.OK]]
        assert [choice.connected for choice in gateway.chooser.choices] == [False, True]


async def test_without_another_engine_the_request_is_refused(gateway: Gateway) -> None:
    async with Gateway(model(backend(closed_port()))) as gateway, await gateway.connect() as client:
        answer = await client.ask(post(CHAT))
        assert (answer.status, answer.headers["x-should-retry"]) == (502, "true")
        assert "127.0.0.1" not in answer.json["error"]["message"]  # a client need not know where engines are
        record = await gateway.record()
        assert (record.outcome, record.reason, record.attempts) == (Outcome.ERROR, "connect", 1)
        assert gateway.limits.reservations[0].ends == ["cancelled"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_engine_is_followed_by_another(
    pair: Gateway, engine: FakeEngine, pair_client: RawClient, status: int
) -> None:
    engine.script = [whole(status, BUSY)]
    answer = await pair_client.ask(post(CHAT))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert pair.recorder.retries == [f"http_{status}"]
    assert pair.chooser.choices[0].released == [Outcome.REJECTED]
    assert (await pair.record()).attempts == 2
    assert len(engine.open) == 1  # its connection was not half read, so it rests


async def test_the_last_busy_engines_own_answer_reaches_the_client(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    engine.script = [whole(503, b"first")]
    second.script = [whole(429, BUSY, "retry-after: 7")]
    answer = await pair_client.ask(post(CHAT))
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (429, BUSY, "7")
    record = await pair.record()
    assert (record.outcome, record.status, record.attempts) == (Outcome.REJECTED, 429, 2)
    assert pair.limits.reservations[0].ends == ["cancelled"]


async def test_a_full_queue_that_looks_like_an_answer_is_followed_by_another(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    engine.script = [queue_full()]
    second.script = [stream(TOKEN, DONE)]
    answer = await pair_client.ask(post(STREAM))
    assert (answer.status, answer.body) == (200, TOKEN + DONE)
    assert pair.recorder.retries == ["stream_error"]


async def test_a_full_queue_that_looks_like_an_answer_gets_its_real_status(
    gateway: Gateway, engine: FakeEngine, client: RawClient
) -> None:
    engine.script = [queue_full()]
    answer = await client.ask(post(STREAM))
    assert (answer.status, answer.headers["x-should-retry"]) == (503, "true")
    assert (await gateway.record()).outcome is Outcome.REJECTED


async def test_a_first_event_of_another_error_is_not_tried_again(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient
) -> None:
    engine.script = [error_then_done(before=0)]
    assert (await pair_client.ask(post(STREAM))).status == 502
    assert second.requests == []
    assert (await pair.record()).outcome is Outcome.ERROR


async def test_retries_are_bounded(engine: FakeEngine) -> None:
    engine.script = [whole(503, BUSY)]
    backends = [backend(engine.url) for _ in range(5)]
    async with Gateway(model(*backends, retries=2)) as gateway, await gateway.connect() as client:
        gateway.chooser.again = lambda ask, failed, now: gateway.chooser.pick(failed.model, 0)  # type: ignore[method-assign]
        assert (await client.ask(post(CHAT))).status == 503
        assert (await gateway.record()).attempts == 3


@pytest.mark.parametrize("death", [dies_at_once, closes_unanswered])
async def test_an_engine_that_dies_before_its_answer_is_not_followed_by_another(
    pair: Gateway, engine: FakeEngine, second: FakeEngine, pair_client: RawClient, death: Any
) -> None:
    engine.script = [death]
    assert (await pair_client.ask(post(CHAT))).status == 502
    assert second.requests == []


async def test_a_fallback_answers_when_no_backend_can(second: FakeEngine) -> None:
    large_model = model(backend(closed_port()), fallbacks=("gone", "small"))
    small = model(backend(second.url), name="small")
    async with Gateway(large_model, small) as gateway, await gateway.connect() as client:
        answer = await client.ask(post(CHAT))
        assert (answer.status, answer.headers["x-fallback-from"]) == (200, "chat")
        record = await gateway.record()
        assert (record.model, record.degraded_from, record.attempts) == ("small", "chat", 2)
        assert [reservation.ends for reservation in gateway.limits.reservations] == [["cancelled"], ["settled"]]


async def test_a_fallback_answers_when_there_is_no_backend(second: FakeEngine) -> None:
    models = model(fallbacks=("small",)), model(backend(second.url), name="small")
    async with Gateway(*models) as gateway, await gateway.connect() as client:
        assert (await client.ask(post(CHAT))).headers["x-fallback-from"] == "chat"


async def test_a_fallback_that_the_caller_may_not_ask_does_not_answer(second: FakeEngine) -> None:
    models = model(fallbacks=("small",)), model(backend(second.url), name="small")
    async with Gateway(*models) as gateway, await gateway.connect() as client:
        gateway.limits.caller = Caller("id", "tenant", models=frozenset({"chat"}))
        assert (await client.ask(post(CHAT))).status == 503
        gateway.limits.caller = Caller("id", "tenant", models=frozenset({"chat", "small"}))
        assert (await client.ask(post(CHAT))).status == 200


async def test_a_fallback_over_its_own_limit_does_not_answer(second: FakeEngine) -> None:
    models = model(fallbacks=("small",)), model(backend(second.url), name="small")
    async with Gateway(*models) as gateway, await gateway.connect() as client:
        gateway.limits.spent.add("small")
        assert (await client.ask(post(CHAT))).status == 503
        await gateway.record()


async def test_a_large_body_is_tried_again_whole(second: FakeEngine) -> None:
    body = {**CHAT, "text": "x" * 2_000_000}
    async with (
        Gateway(model(backend(closed_port()), backend(second.url))) as gateway,
        await gateway.connect() as client,
    ):
        assert (await client.ask(post(body))).status == 200
        await gateway.record()
    assert len(second.requests[0].body) > 2_000_000
