"""Synthetic requests on a clock that sleeps and answers move: pairs, pace, cap, and counts that outlive a crash."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import replace
from typing import Any

import pytest

from controlplane.gateway.telemetry.families import ANSWER_DURATION_BOUNDS, ANSWER_FIRST_BOUNDS, TOKEN_BOUNDS
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.options import TopUp
from controlplane.rollout.work import top_up as module
from controlplane.rollout.work.top_up import RUN_S, TopUpCounts, TopUpWorker, VersionCounts, from_carry, to_carry
from controlplane.traffic.driver import Answer, Question, ServerReply
from tests.fakes.asked_driver import AskedDriver, Says, answer, not_sent
from tests.fakes.planned import planned, section

WORK = Work(WorkKind.TOP_UP, 5)


def said(finish: str = "stop", text: str = "hi", tokens: int | None = 5) -> bytes:
    usage = {} if tokens is None else {"usage": {"prompt_tokens": 3, "completion_tokens": tokens}}
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}], **usage}).encode()


GOOD = answer(0.2, 0.0, body=said())


class Rig:
    """A worker over a driver that says `v1` and `v2`, and a rollout with synthetic requests."""

    def __init__(self, v2: Says = GOOD, v1: Says = GOOD, **options: Any) -> None:
        self.says = {"v1": v1, "v2": v2}
        self.driver = AskedDriver(lambda backend, version, question: self.says[version])
        self.rollout = planned(top_up=TopUp(**{"prompts": ("a", "b", "c"), "per_minute": 6, "at_most": 100, **options}))
        self.worker = self.fresh()

    def fresh(self) -> TopUpWorker:
        driver = self.driver
        return TopUpWorker(lambda _: driver, lambda _: section(), monotonic=driver.now, sleep=driver.sleep)

    async def run(self, before: Finding | None = None, number: int | None = None) -> Finding:
        work = replace(WORK, number=number or (1 if before is None else 2))
        return await self.worker.run(self.rollout, work, 1000.0, before)

    @property
    def counts(self) -> TopUpCounts:
        found = self.worker.counts("r-1")
        assert found is not None
        return found


async def test_both_versions_get_each_prompt_evenly_over_a_minute() -> None:
    rig = Rig()
    found = await rig.run()
    assert found.outcome is Outcome.PASS
    assert found.reasons == ("6 of at most 100 synthetic prompts were sent to v1 and v2",)
    asked = [(version, question.body["messages"][0]["content"]) for _, version, question in rig.driver.asked]
    assert asked == [(version, prompt) for prompt in "abcabc" for version in ("v2", "v1")]
    assert rig.driver.time == 50.0, "the sixth begins 50 s after the first"
    assert (rig.counts.of("v1").asked, rig.counts.of("v2").asked) == (6, 6)


async def test_the_cap_holds_over_all_runs_and_over_a_crash() -> None:
    rig = Rig(at_most=10)
    first = await rig.run()
    rig.worker = rig.fresh()
    assert rig.worker.counts("r-1") is None
    second = await rig.run(first)
    assert second.reasons == ("10 of at most 10 synthetic prompts were sent to v1 and v2",)
    third = await rig.run(second)
    assert third.reasons == second.reasons and len(rig.driver.asked) == 20
    assert rig.counts.of("v2").asked == 10


async def test_slow_answers_end_with_the_minute() -> None:
    rig = Rig(v2=answer(None, 25.0, body=said()))
    await rig.run()
    assert rig.counts.prompts == 3 and rig.driver.time > RUN_S


async def test_answers_are_counted_as_a_gateway_counts_them() -> None:
    rig = Rig(v2=answer(0.25, 1.45, body=said("length", tokens=7)), per_minute=1)
    await rig.run()
    ours = rig.counts.of("v2")
    assert (ours.asked, ours.failed, ours.finishes, ours.empty, ours.refused) == (1, 0, {"length": 1}, 0, 0)
    assert ours.first_s[bisect_left(ANSWER_FIRST_BOUNDS, 0.25)] == sum(ours.first_s) == 1
    assert ours.duration_s[bisect_left(ANSWER_DURATION_BOUNDS, 1.45)] == sum(ours.duration_s) == 1
    assert ours.tokens[bisect_left(TOKEN_BOUNDS, 7)] == sum(ours.tokens) == 1
    assert sum(ours.per_token_s) == 1 and ours.per_token_s.index(1) == 14, "0.2 s"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(fault="answered 500 instead of 200"), VersionCounts(asked=1, failed=1)),
        (Answer("did not answer within 60 s", 60.0), VersionCounts(asked=1, failed=1)),
    ],
)
async def test_a_bad_answer_is_a_request_that_failed(given: Answer, expected: VersionCounts) -> None:
    rig = Rig(v2=given, per_minute=1)
    assert (await rig.run()).outcome is Outcome.PASS
    assert rig.counts.of("v2") == expected and rig.counts.of("v1").failed == 0


async def test_empty_answers_and_refusals() -> None:
    rig = Rig(
        v2=answer(None, body=said(text=" ", tokens=None)), v1=answer(None, body=said("content_filter")), per_minute=1
    )
    await rig.run()
    assert (rig.counts.of("v2").empty, rig.counts.of("v2").tokens) == (1, [0] * (len(TOKEN_BOUNDS) + 1))
    assert (rig.counts.of("v1").refused, rig.counts.of("v1").finishes) == (1, {"content_filter": 1})


async def test_every_server_of_a_version_is_counted() -> None:
    reply = GOOD.replies[0]
    both = Answer("http://b x", 1.0, (reply, ServerReply("http://b", "x", 1.0, None, b"")))
    rig = Rig(v2=both, per_minute=1)
    await rig.run()
    assert (rig.counts.of("v2").asked, rig.counts.of("v2").failed) == (2, 1)


async def test_a_version_that_cannot_be_reached_ends_the_run_without_a_count() -> None:
    rig = Rig(v1=not_sent("v1 is away"))
    found = await rig.run()
    assert found.outcome is Outcome.NOT_ENOUGH
    assert found.reasons == ("1 of at most 100 synthetic prompts were sent to v1 and v2; v1 is away",)
    assert rig.counts.versions == {} and len(rig.driver.asked) == 2


async def test_prompts_and_answers_are_not_kept() -> None:
    rig = Rig(v2=answer(None, body=said(text="SECRET")), prompts=("PRIVATE",))
    found = await rig.run()
    assert "SECRET" not in repr(found) and "PRIVATE" not in repr(found)


async def test_a_question_that_takes_no_prompt_is_not_asked() -> None:
    rig = Rig()
    rig.rollout = planned(question=Question("embeddings", {"input": "x"}), top_up=TopUp(("a",), per_minute=1))
    await rig.run()
    assert [question.path for _, _, question in rig.driver.asked] == ["chat/completions"] * 2


def test_counts_survive_their_carry() -> None:
    counts = TopUpCounts(3, {"v1": VersionCounts(asked=3, finishes={"stop": 3})})
    assert from_carry(to_carry(counts, "r-1"), "r-1") == counts
    carry = to_carry(counts, "r-1")
    for wrong in ("", "[]", "{", carry.replace('"first_s": [0, ', '"first_s": ['), carry.replace("asked", "posed")):
        assert from_carry(wrong, "r-1") is None
    assert from_carry(carry, "r-2") is None


async def test_a_run_that_a_dead_process_began_counts_as_sent_and_is_not_repeated() -> None:
    rig = Rig(at_most=10)
    first = await rig.run()
    rig.worker = rig.fresh()
    lost = rig.worker.interrupted(rig.rollout, replace(WORK, number=2), first)
    assert lost.reasons == (
        "10 of at most 10 synthetic prompts were sent to v1 and v2; the latest ones may have been lost with a process "
        "that died",
    )
    assert rig.counts.of("v2").asked == 6, "only answers are counted"
    after = await rig.run(lost, number=3)
    assert after.reasons == ("10 of at most 10 synthetic prompts were sent to v1 and v2",)
    assert len(rig.driver.asked) == 12


LOST = [None, Finding(Outcome.NOT_ENOUGH, ("the top-up failed",)), Finding(Outcome.PASS, (), carry="{")]


@pytest.mark.parametrize("before", LOST)
async def test_where_earlier_counts_are_lost_nothing_more_is_sent(before: Finding | None) -> None:
    rig = Rig()
    interrupted = rig.worker.interrupted(rig.rollout, replace(WORK, number=2), before)
    for found in (await rig.run(before, number=2), interrupted):
        assert found.outcome is Outcome.NOT_ENOUGH
        assert found.reasons == (
            "no synthetic prompts are sent: it is not known how many of at most 100 were sent before",
        )
    assert rig.driver.asked == []


async def test_a_prompt_that_reached_one_version_counts_for_the_limit() -> None:
    rig = Rig(v1=not_sent("v1 is away"), at_most=3)
    found: Finding | None = None
    for number in range(1, 9):
        found = await rig.run(found, number=number)
    assert found is not None and found.reasons[0].startswith("3 of at most 3 synthetic prompts")
    assert [version for _, version, _ in rig.driver.asked].count("v2") == 3


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROLLOUTS", 2)
    rig = Rig(per_minute=1)
    for name in ("r-1", "r-2", "r-3"):
        await rig.worker.run(replace(rig.rollout, id=name), WORK, 1000.0, None)
    assert [rig.worker.counts(name) is not None for name in ("r-1", "r-2", "r-3")] == [False, True, True]


async def test_a_model_that_is_gone_keeps_its_counts() -> None:
    before = Finding(Outcome.PASS, (), carry=to_carry(TopUpCounts(3), "r-1"))
    found = await TopUpWorker(lambda _: None, lambda _: None).run(planned(top_up=TopUp(("a",))), WORK, 0.0, before)
    assert (found.outcome, found.carry) == (Outcome.NOT_ENOUGH, before.carry)
