"""Engines that misbehave over real HTTP: whatever they do, each gate ends in its time with a finding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.options import Expected, Golden, GoldenPrompt, TopUp, Warm
from controlplane.rollout.work.golden import GoldenWorker
from controlplane.rollout.work.top_up import TopUpWorker
from controlplane.rollout.work.warm import WarmWorker
from controlplane.traffic.engine_server import open_session
from controlplane.traffic.gateway.driver import GatewayDriver
from tests.fakes.gateways import FakeGateways
from tests.fakes.openai_server import OpenAiServer
from tests.fakes.planned import BACKEND, planned, section
from tests.patience import HANG_S

LATE_S = 1.0
"""Deadline of a request to an engine that never answers, in seconds."""
GOOD_BODY = {"messages": [{"role": "user", "content": "hi"}]}


class Rig:
    """v1 on a good engine, v2 on one that a test makes misbehave."""

    def __init__(self) -> None:
        self.stable, self.candidate = OpenAiServer("llama"), OpenAiServer("llama")

    def open(self) -> None:
        self.section = section(v1=self.stable.url, v2=self.candidate.url)
        self.driver = GatewayDriver(self.section, open_session(), FakeGateways(), timeout_s=30.0)

    async def warm(self, **changes: Any) -> Finding:
        warm = Warm(
            **{"prompts": ("hi",), "at_least": 3, "at_most": 5, "within": 100.0, "timeout_s": HANG_S, **changes}
        )
        worker = WarmWorker(lambda _: self.driver, lambda _: self.section)
        return await worker.run(planned(warm=warm), Work(WorkKind.WARM, 1, BACKEND), 0.0, None)

    async def golden(self, timeout_s: float = HANG_S) -> Finding:
        prompts = (GoldenPrompt("p", "chat/completions", GOOD_BODY, Expected(contains=("hi",)), timeout_s),)
        worker = GoldenWorker(lambda _: self.driver)
        return await worker.run(planned(golden=Golden(prompts)), Work(WorkKind.GOLDEN, 1), 0.0, None)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    async with made.stable, made.candidate:
        made.open()
        yield made
        await made.driver.close()


def hangs(engine: OpenAiServer) -> None:
    engine.hangs = True


def drips(engine: OpenAiServer) -> None:
    engine.drips = True


def answers_500(engine: OpenAiServer) -> None:
    engine.status = 500


def errs_in_its_stream(engine: OpenAiServer) -> None:
    engine.fault = "CUDA error"
    engine.raw = b'data: {"error": {"message": "CUDA error"}}\n\ndata: [DONE]\n\n'


def writes_no_json(engine: OpenAiServer) -> None:
    engine.raw = b'{"choices": [{"message": {"content": "hi"'


def writes_too_much(engine: OpenAiServer) -> None:
    engine.raw = b'{"choices": "' + b"x" * (5 * 2**20) + b'"}'


async def test_a_good_engine_passes_both_gates(rig: Rig) -> None:
    assert (await rig.warm()).outcome is Outcome.PASS
    assert (await rig.golden()).outcome is Outcome.PASS
    assert {headers["x-controlplane-test"] for headers in rig.candidate.headers} == {"1"}


@pytest.mark.parametrize(
    ("misbehave", "words"),
    [
        (hangs, "did not answer /v1/chat/completions within"),
        (drips, "did not answer /v1/chat/completions within"),
        (answers_500, "answered 500 instead of 200: overloaded"),
        (errs_in_its_stream, "answered with an error: CUDA error"),
        (writes_no_json, "answered 200 without any output"),
        (writes_too_much, "answered more than 4194304 bytes"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_a_misbehaving_candidate_fails_both_gates(
    rig: Rig, misbehave: Callable[[OpenAiServer], None], words: str
) -> None:
    misbehave(rig.candidate)
    timeout_s = LATE_S if misbehave in (hangs, drips) else HANG_S
    warmed, golden = await rig.warm(timeout_s=timeout_s), await rig.golden(timeout_s)
    assert (warmed.outcome, golden.outcome) == (Outcome.FAIL, Outcome.FAIL)
    assert words in warmed.reasons[0] and words in golden.reasons[1]
    if timeout_s == HANG_S:
        assert "; v1" not in golden.reasons[1], "the stable version does well"


async def test_a_candidate_that_is_gone_is_not_judged(rig: Rig) -> None:
    await rig.candidate.__aexit__()
    golden = await rig.golden()
    assert golden.outcome is Outcome.NOT_ENOUGH and "did not answer /v1/chat/completions" in golden.reasons[0]
    await rig.candidate.__aenter__()


async def test_a_stable_version_that_misbehaves_is_only_told(rig: Rig) -> None:
    answers_500(rig.stable)
    writes_no_json(rig.candidate)
    golden = await rig.golden()
    assert golden.outcome is Outcome.FAIL and golden.reasons[1].endswith("; v1 fails it too")


async def test_synthetic_requests_count_what_a_misbehaving_candidate_does(rig: Rig) -> None:
    answers_500(rig.candidate)
    worker = TopUpWorker(lambda _: rig.driver, lambda _: rig.section)
    rollout = planned(top_up=TopUp(("hi",), per_minute=1))
    await worker.run(rollout, Work(WorkKind.TOP_UP, 1), 0.0, None)
    counts = worker.counts("r-1")
    assert counts is not None
    assert [(counts.of(v).asked, counts.of(v).failed) for v in ("v1", "v2")] == [(1, 0), (1, 1)]
