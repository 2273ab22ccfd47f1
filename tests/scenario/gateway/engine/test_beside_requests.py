"""Second attempts, copies and cached answers beside a request, over raw sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.gateway.desired.document import (
    HedgeSpec,
    MirrorSpec,
    ModelSpec,
    TimeoutSpec,
    VersionSpec,
)
from controlplane.gateway.exchange import server
from controlplane.gateway.request import Content, Outcome, TokenCounts
from tests.fakes.engine import (
    ANSWER,
    DONE,
    TOKEN,
    FakeEngine,
    Turn,
    closes_unanswered,
    dies_at_once,
    error_then_done,
    raw,
    silent,
    stream,
    whole,
)
from tests.fakes.gateway import CHAT, STREAM, Gateway, backend, model
from tests.fakes.gateway_stages import Answers
from tests.fakes.raw_http import RawClient, post
from tests.patience import until


async def test_a_late_first_event_is_hedged(pair: Gateway, engine: FakeEngine, second: FakeEngine) -> None:
    engine.script = [silent]
    second.script = [stream(TOKEN, DONE)]
    specs = tuple(pair.desired.models[0].versions[0].backends)
    spec = model(*specs, hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        assert (await client.answer()).body == TOKEN + DONE
        await until(lambda: engine.left == 1)
        record = await gateway.record()
        assert (record.backend, record.attempts, record.outcome) == (second.url, 2, Outcome.OK)
        assert gateway.recorder.retries == ["hedge"]
        assert gateway.counters.hedges == 1
        assert [choice.released for choice in gateway.chooser.choices] == [[Outcome.ABORTED], [Outcome.OK]]
        assert len(gateway.limits.reservations) == 1


async def test_the_first_of_two_attempts_may_still_win(engine: FakeEngine, second: FakeEngine) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await stream(TOKEN, DONE)(turn)

    engine.script = [late]
    second.script = [silent]
    spec = model(backend(engine.url), backend(second.url), hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        await until(lambda: second.requests)
        release.set()
        assert (await client.answer()).body == TOKEN + DONE
        await until(lambda: second.left == 1)
        assert (await gateway.record()).backend == engine.url


async def test_when_one_of_two_attempts_fails_the_other_goes_on(engine: FakeEngine, second: FakeEngine) -> None:
    release = asyncio.Event()

    async def late(turn: Turn) -> None:
        await release.wait()
        await stream(TOKEN, DONE)(turn)

    engine.script = [late]
    second.script = [dies_at_once]
    spec = model(backend(engine.url), backend(second.url), hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        await until(lambda: gateway.recorder.retries == ["lost"])
        release.set()
        assert (await client.answer()).body == TOKEN + DONE
        await gateway.record()


async def test_a_client_that_leaves_two_attempts_frees_both(engine: FakeEngine, second: FakeEngine) -> None:
    engine.script = second.script = [silent]
    spec = model(backend(engine.url), backend(second.url), hedge=HedgeSpec())
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        gateway.chooser.hedge_s = 2.0
        await client.send(post(STREAM))
        await until(lambda: engine.requests)
        gateway.clock.advance(2)
        await until(lambda: second.requests)
        client.close()
        await until(lambda: engine.left == second.left == 1)
        assert (await gateway.record()).outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (whole(), Outcome.OK),
        (whole(500), Outcome.ERROR),
        (whole(503), Outcome.REJECTED),
        (closes_unanswered, Outcome.ERROR),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", close=True), Outcome.CUT),
    ],
)
async def test_a_copys_answer_is_thrown_away_and_counted(
    engine: FakeEngine, second: FakeEngine, behaviour: Any, outcome: Outcome
) -> None:
    second.script = [behaviour]
    versions = (VersionSpec("v1", 1000, (backend(engine.url),)), VersionSpec("v2", 0, (backend(second.url),)))
    spec = ModelSpec("chat", 1, versions, mirror=MirrorSpec("v2", 1.0))
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        assert (await client.ask(post(CHAT))).body == ANSWER
        await until(lambda: gateway.counters.mirrors)
        assert gateway.counters.mirrors == [outcome]
        facts = [("v2", Content(said=True), TokenCounts(), False)]
        assert gateway.counters.mirrored_answers == (facts if outcome is Outcome.OK else [])
        record = await gateway.record()
        assert (record.version, record.attempts, record.outcome) == ("v1", 1, Outcome.OK)
    assert second.requests[0].body == engine.requests[0].body


@pytest.mark.parametrize(("padding", "most"), [(2**20, 9), (0, 20)])
async def test_a_version_that_hangs_holds_few_copies(
    engine: FakeEngine, second: FakeEngine, monkeypatch: pytest.MonkeyPatch, padding: int, most: int
) -> None:
    monkeypatch.setattr(server, "MOST_OPEN", 20)
    monkeypatch.setattr(server, "MOST_BYTES", 10 * 2**20)
    second.script = [silent]
    versions = (VersionSpec("v1", 1000, (backend(engine.url),)), VersionSpec("v2", 0, (backend(second.url),)))
    spec = ModelSpec("chat", 1, versions, mirror=MirrorSpec("v2", 1.0), timeouts=TimeoutSpec(first_event_s=60.0))
    async with Gateway(spec) as gateway, await gateway.connect() as client:
        for _ in range(30):
            assert (await client.ask(post(b" " * padding + b'{"model":"chat"}'))).status == 200
        await until(lambda: len(second.requests) == most)
        assert gateway.counters.mirrors == [Outcome.ABORTED] * (30 - most)
        gateway.clock.advance(61.0)
        assert gateway.counters.mirrors[30 - most :] == [Outcome.TIMEOUT] * most
        assert (await client.ask(post(CHAT))).status == 200
        await until(lambda: len(second.requests) == most + 1)


@pytest.mark.parametrize(
    ("request_", "behaviour", "body"),
    [
        (CHAT, whole(200, ANSWER, "date: today", "x-request-id: theirs"), ANSWER),
        (STREAM, stream(TOKEN, DONE), TOKEN + DONE),
    ],
)
async def test_an_equal_deterministic_request_is_answered_from_the_cache(
    gateway: Gateway, engine: FakeEngine, client: RawClient, request_: dict[str, Any], behaviour: Any, body: bytes
) -> None:
    engine.script = [behaviour]
    gateway.chooser.caches["chat"] = Answers()
    request = post({**request_, "temperature": 0})
    first, again = await client.ask(request), await client.ask(request)
    assert first.body == again.body == body
    assert len(engine.requests) == 1
    assert (first.headers.get("x-cache"), again.headers["x-cache"]) == (None, "hit")
    assert "date" not in again.headers
    assert again.headers["x-request-id"] not in ("theirs", first.headers["x-request-id"])
    assert again.headers["content-type"] == first.headers["content-type"]
    record = await gateway.record(2)
    assert (record.outcome, record.prompt_tokens, record.completion_tokens, record.backend) == (Outcome.OK, 0, 0, "")
    assert gateway.counters.lookups == [False, True]


async def test_an_answer_of_a_smaller_model_is_not_kept_for_the_larger_one(gateway: Gateway, client: RawClient) -> None:
    answers = gateway.chooser.caches["chat"] = Answers()
    gateway.chooser.degraded_from = "chat"
    answer = await client.ask(post({**CHAT, "temperature": 0}))
    assert answer.headers["x-degraded-from"] == "chat"
    await gateway.record()
    assert answers.kept == {}


@pytest.mark.parametrize("behaviour", [whole(500), stream(TOKEN), error_then_done()])
async def test_an_answer_that_is_not_whole_is_not_kept(gateway: Gateway, engine: FakeEngine, behaviour: Any) -> None:
    engine.script = [behaviour]
    answers = gateway.chooser.caches["chat"] = Answers()
    async with await gateway.connect() as client:
        await client.send(post({**STREAM, "temperature": 0}))
        await client.head()
        await gateway.record()
    assert answers.kept == {}
