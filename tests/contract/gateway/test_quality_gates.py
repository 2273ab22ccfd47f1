"""The warm gate, the golden set and synthetic requests against a real llama-server, by the driver of gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from controlplane.rollout.findings import Outcome, Work, WorkKind
from controlplane.rollout.options import Expected, Golden, GoldenPrompt, TopUp, Warm
from controlplane.rollout.verification import asked
from controlplane.rollout.work.golden import GoldenWorker
from controlplane.rollout.work.top_up import TopUpWorker
from controlplane.rollout.work.warm import WarmWorker
from controlplane.traffic.driver import Driver
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.gateway.driver import GatewayDriver
from tests.contract.real_servers import llama_server
from tests.fakes.gateways import FakeGateways
from tests.fakes.planned import BACKEND, planned, section

pytestmark = pytest.mark.needs("llama-server")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_server(tmp_path_factory.mktemp("llama")) as server:
        yield server.url


@pytest.fixture
async def driver(engine: str) -> AsyncIterator[Driver]:
    """Both versions are on the one server: it serves the model `tiny` under any version's name."""
    made = GatewayDriver(
        section(v1=engine, v2=engine, engine="llamacpp", served="tiny"), open_session(), FakeGateways()
    )
    yield made
    await made.close()


def prompt(name: str, expected: Expected, **body: Any) -> GoldenPrompt:
    messages = [{"role": "user", "content": "Say something."}]
    return GoldenPrompt(name, "chat/completions", {"messages": messages, "max_tokens": 8, **body}, expected)


async def test_a_real_engine_gets_warm(engine: str, driver: Driver) -> None:
    """`within` is wide: the test's machine is busy, and what settles is not the point here."""
    warm = Warm(("hi", "Say something longer, please."), at_least=3, at_most=50, within=5.0, timeout_s=300.0)
    worker = WarmWorker(lambda _: driver, lambda _: section(v1=engine, v2=engine, engine="llamacpp", served="tiny"))
    found = await worker.run(planned(warm=warm), Work(WorkKind.WARM, 1, BACKEND), 0.0, None)
    assert found.outcome is Outcome.PASS, found.reasons
    (sample,) = found.samples
    assert sample.candidate is not None and 0 < sample.candidate < 300 and sample.candidate_requests >= 3


async def test_the_time_to_the_first_token_is_before_the_end(driver: Driver) -> None:
    question = asked(section(engine="llamacpp"), "chat/completions", None, "hi", 300.0)
    answer = await driver.ask(BACKEND, "v2", replace(question, body={**question.body, "max_tokens": 500}))
    assert answer.fault == "" and answer.first_s is not None
    assert 0 < answer.first_s < answer.seconds, "500 tokens take longer than one"


async def test_a_golden_set_of_a_real_engine(driver: Driver) -> None:
    """The tiny model writes characters at random, eight of them, and streams them or not."""
    prompts = (
        prompt("length", Expected(at_least_characters=1, at_most_characters=200)),
        prompt("stream", Expected(at_least_characters=1), stream=True),
        prompt("regex", Expected(regex="(?s)^.+$")),
        prompt("schema", Expected(json_schema={"type": "object"})),
        prompt("exact", Expected(exact="The capital of France is Paris.")),
        prompt("refused", Expected(at_least_characters=1), messages="no list"),
    )
    rollout = planned(golden=Golden(prompts, pass_ratio=0.5))
    found = await GoldenWorker(lambda _: driver).run(rollout, Work(WorkKind.GOLDEN, 2), 0.0, None)
    assert found.outcome is Outcome.PASS, found.reasons
    assert found.reasons[0] == "v2 fails 3 of 6 prompts of the golden set (at least 50% must hold)"
    assert found.reasons[1:3] == (
        "schema: the answer is not JSON; v1 fails it too",
        "exact: the answer is not exact; v1 fails it too",
    )
    assert found.reasons[3].startswith("refused: ") and "answered 400 instead of 200" in found.reasons[3]
    assert found.reasons[3].endswith("v1 fails it too")


async def test_synthetic_requests_to_a_real_engine(engine: str, driver: Driver) -> None:
    worker = TopUpWorker(
        lambda _: driver, lambda _: section(v1=engine, v2=engine, engine="llamacpp", served="tiny"), sleep=_at_once
    )
    rollout = planned(top_up=TopUp(("hi",), per_minute=5, at_most=5))
    found = await worker.run(rollout, Work(WorkKind.TOP_UP, 3), 0.0, None)
    assert found.outcome is Outcome.PASS, found.reasons
    counts = worker.counts("r-1")
    assert counts is not None
    for version in ("v1", "v2"):
        of = counts.of(version)
        assert (of.asked, of.failed, of.empty, of.refused) == (5, 0, 0, 0)
        assert of.finishes == {"length": 5} and sum(of.first_s) == sum(of.duration_s) == 5


async def _at_once(seconds: float) -> None:
    """Wait for nothing."""
