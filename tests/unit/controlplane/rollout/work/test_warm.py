"""The warm gate on a clock that only answers move: when a candidate is warm, when it is not, and when nobody knows."""

from __future__ import annotations

import pytest

from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.options import Warm
from controlplane.rollout.work.warm import FAULTS, TRIES, WarmWorker, settled
from tests.fakes.asked_driver import AskedDriver, Says, answer, in_turn, not_sent
from tests.fakes.planned import BACKEND, planned, section

WORK = Work(WorkKind.WARM, 3, BACKEND)
WARM = Warm(at_least=3, at_most=10, within=0.2, timeout_s=60.0)


async def warmed(driver: AskedDriver, warm: Warm = WARM, work: Work = WORK, **plan: object) -> Finding:
    worker = WarmWorker(lambda _: driver, lambda _: section(), monotonic=driver.now, sleep=driver.sleep)
    return await worker.run(planned(warm=warm, **plan), work, 1000.0, None)  # type: ignore[arg-type]


def says(*first: float | None) -> AskedDriver:
    return AskedDriver(in_turn(*(answer(seconds) for seconds in first)))


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([0.2, 0.2], False),
        ([0.2, 0.2, 0.2], True),
        ([3.0, 0.2, 0.24, 0.2], True),
        ([3.0, 0.2, 0.25, 0.2], False),
        ([0.2, 0.2, 0.2, 0.3], False),
        ([0.001, 0.010, 0.002], True),
        ([0.001, 0.020, 0.002], False),
        ([], False),
    ],
)
def test_a_time_settles_when_the_last_rounds_agree(rounds: list[float], expected: bool) -> None:
    assert settled(rounds, WARM) is expected


async def test_a_cold_candidate_is_warm_when_its_time_settles() -> None:
    driver = says(3.4, 0.9, 0.21, 0.2, 0.22)
    found = await warmed(driver)
    assert found.outcome is Outcome.PASS
    assert found.reasons == (
        "v2 is warm on gateway: 0.21 s, the last 3 of 5 rounds; first 3.4 s (3.4, 0.9, 0.21, 0.2, 0.22)",
    )
    assert [(s.metric, s.candidate, s.candidate_requests, s.stable) for s in found.samples] == [
        ("ttft", 0.21, 5.0, None)
    ]
    assert {(backend, version) for backend, version, _ in driver.asked} == {("gateway", "v2")}


async def test_an_answer_that_is_no_stream_counts_by_its_duration() -> None:
    found = await warmed(AskedDriver(in_turn(answer(None, seconds=0.5))))
    assert found.outcome is Outcome.PASS and found.samples[0].candidate == 0.5


async def test_a_time_that_does_not_settle_fails_with_its_times() -> None:
    found = await warmed(says(*[0.1, 0.9] * 5))
    assert found.outcome is Outcome.FAIL
    assert found.reasons[0].startswith(
        "the time to the first token of v2 on gateway did not settle in 10 rounds: 0.9 s"
    )
    assert "(0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9)" in found.reasons[0]


async def test_the_gates_deadline_is_the_deadline_of_each_request() -> None:
    driver = AskedDriver(in_turn(answer(25.0, seconds=25.0), answer(1.0, seconds=25.0)))
    found = await warmed(driver)
    assert found.outcome is Outcome.FAIL and "did not settle within 60 s" in found.reasons[0]
    assert [question.timeout_s for _, _, question in driver.asked] == [60.0, 35.0, 10.0]


async def test_bad_answers_in_a_row_fail_at_once() -> None:
    driver = AskedDriver(in_turn(answer(), answer(fault="answered 500 instead of 200")))
    found = await warmed(driver)
    assert found.outcome is Outcome.FAIL
    assert found.reasons == ("v2 on gateway gave 3 bad answers: answered 500 instead of 200",)
    assert len(driver.asked) == 1 + FAULTS


async def test_a_bad_answer_in_between_begins_anew() -> None:
    bad = answer(fault="answered 503 instead of 200")
    driver = AskedDriver(in_turn(answer(), answer(), bad, answer(), answer(), bad, answer()))
    assert (await warmed(driver)).outcome is Outcome.PASS
    assert len(driver.asked) == 9


async def test_bad_answers_now_and_then_end_with_the_last_round() -> None:
    said: list[Says] = [answer(), answer(fault="answered 503 instead of 200")] * 20
    driver = AskedDriver(in_turn(*said))
    found = await warmed(driver)
    assert found.outcome is Outcome.FAIL and len(driver.asked) == 10
    assert found.reasons == ("v2 on gateway gave no good answer in 10 rounds: answered 503 instead of 200",)


async def test_a_backend_that_cannot_be_reached_says_nothing_about_the_candidate() -> None:
    found = await warmed(AskedDriver(in_turn(not_sent("connection refused"))))
    assert found.outcome is Outcome.NOT_ENOUGH and found.reasons == ("gateway cannot be asked: connection refused",)
    short = AskedDriver(in_turn(*[not_sent()] * (TRIES - 1), answer()))
    assert (await warmed(short)).outcome is Outcome.PASS


async def test_each_backend_is_warmed_and_the_worst_counts() -> None:
    driver = AskedDriver(lambda url, version, question: answer() if url == "http://a" else not_sent("away"))
    work = Work(WorkKind.WARM, 3)
    found = await warmed(driver, work=work, backends=("http://a", "http://b"))
    assert found.outcome is Outcome.NOT_ENOUGH and found.reasons[0] == "http://b cannot be asked: away"
    assert [(s.words, s.outcome.value) for s in found.samples] == [
        ("http://a", "pass"),
        ("http://b", "not-enough-data"),
    ]
    named = await warmed(driver, work=Work(WorkKind.WARM, 3, "http://a"), backends=("http://a", "http://b"))
    assert named.outcome is Outcome.PASS and len(named.samples) == 1


async def test_prompts_are_asked_in_rounds() -> None:
    driver = AskedDriver(lambda url, version, question: answer(0.1 if "short" in str(question.body) else 0.4))
    found = await warmed(driver, Warm(("short", "long " * 100), at_least=3, at_most=10, timeout_s=60.0))
    assert found.outcome is Outcome.PASS and found.samples[0].candidate == pytest.approx(0.5)
    assert [question.body["messages"][0]["content"][:5] for _, _, question in driver.asked] == ["short", "long "] * 3
    assert all(question.path == "chat/completions" and question.body["stream"] for _, _, question in driver.asked)


async def test_without_a_prompt_the_gate_stays_shut() -> None:
    found = await warmed(says(0.2), question=None)
    assert found.outcome is Outcome.FAIL and "set rollout.warm.prompts or verify: of the model" in found.reasons[0]


async def test_a_model_that_is_gone_is_not_judged() -> None:
    worker = WarmWorker(lambda _: None, lambda _: None)
    found = await worker.run(planned(warm=WARM), WORK, 1000.0, None)
    assert found == Finding(Outcome.NOT_ENOUGH, ("model chat is not in fleet.yaml",))
