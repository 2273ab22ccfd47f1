"""The golden set on a clock that only answers move: results, ratios, repetition, and what is never said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.options import Expected, Golden, GoldenPrompt, Judge
from controlplane.rollout.work.golden import MISSES, OPEN, GoldenWorker
from controlplane.traffic.driver import Answer, Question, ServerReply
from tests.fakes.asked_driver import AskedDriver, Says, answer, not_sent
from tests.fakes.judge import FakeJudge, fake_judge
from tests.fakes.planned import planned

WORK = Work(WorkKind.GOLDEN, 4)
SECRET = "the candidate's private words"


def prompt(name: str, timeout_s: float = 60.0, **expected: Any) -> GoldenPrompt:
    body = {"messages": [{"role": "user", "content": f"ask {name}"}]}
    return GoldenPrompt(name, "chat/completions", body, Expected(**(expected or {"contains": ("good",)})), timeout_s)


def prompts(number: int) -> tuple[GoldenPrompt, ...]:
    return tuple(prompt(f"p{each}") for each in range(number))


def text(words: str, seconds: float = 1.0) -> Answer:
    body = json.dumps({"choices": [{"message": {"content": words}, "finish_reason": "stop"}]}).encode()
    return answer(None, seconds, body=body)


GOOD, BAD = text("good"), text(f"bad: {SECRET}")


def name_of(question: Question) -> str:
    return str(question.body["messages"][0]["content"]).removeprefix("ask ")


def failing(*names: str, stable: tuple[str, ...] = (), bad: Says = BAD) -> AskedDriver:
    """Return a driver whose candidate fails the prompts `names`, and whose stable version fails those in `stable`."""

    def script(backend: str, version: str, question: Question) -> Says:
        return bad if name_of(question) in (names if version == "v2" else stable) else GOOD

    return AskedDriver(script)


async def run(driver: AskedDriver, golden: Golden, before: Finding | None = None, **plan: Any) -> Finding:
    worker = GoldenWorker(lambda _: driver, monotonic=driver.now, sleep=driver.sleep)
    return await worker.run(planned(golden=golden, **plan), WORK, 1000.0, before)


async def test_a_candidate_that_answers_as_expected() -> None:
    driver = failing()
    found = await run(driver, Golden(prompts(3)))
    assert (found.outcome, found.reasons) == (
        Outcome.PASS,
        ("v2 fails 0 of 3 prompts of the golden set (at least 100% must hold)",),
    )
    assert [(s.metric, s.unit, s.candidate, s.candidate_requests) for s in found.samples] == [
        ("golden", "ratio", 1.0, 3.0)
    ]
    assert [(version, name_of(question)) for _, version, question in driver.asked] == [
        ("v2", f"p{n}") for n in range(3)
    ]


async def test_the_stable_version_is_asked_what_the_candidate_fails() -> None:
    driver = failing("p1", "p2", stable=("p2",))
    found = await run(driver, Golden(prompts(4), pass_ratio=0.5))
    assert found.outcome is Outcome.PASS
    assert found.reasons == (
        "v2 fails 2 of 4 prompts of the golden set (at least 50% must hold)",
        "p1: the answer lacks contains[0]",
        "p2: the answer lacks contains[0]; v1 fails it too",
    )
    assert found.samples[0].candidate == 0.5
    assert [name_of(question) for _, version, question in driver.asked if version == "v1"] == ["p1", "p2"]


@pytest.mark.parametrize(
    ("ratio", "failures", "outcome"),
    [
        (1.0, 0, Outcome.PASS),
        (1.0, 1, Outcome.FAIL),
        (0.9, 1, Outcome.PASS),
        (0.9, 2, Outcome.FAIL),
        (0.85, 1, Outcome.PASS),
        (0.85, 2, Outcome.FAIL),
    ],
)
async def test_the_ratio(ratio: float, failures: int, outcome: Outcome) -> None:
    driver = failing(*(f"p{each}" for each in range(failures)))
    assert (await run(driver, Golden(prompts(10), pass_ratio=ratio))).outcome is outcome


async def test_a_certain_failure_ends_the_run() -> None:
    driver = failing(*(f"p{each}" for each in range(100)))
    found = await run(driver, Golden(prompts(100)))
    assert found.outcome is Outcome.FAIL and len(found.reasons) <= 1 + OPEN
    assert "of 100 prompts of the golden set" in found.reasons[0]
    assert len({name_of(question) for _, _, question in driver.asked}) <= OPEN + 1


async def test_answers_and_prompts_are_never_in_a_finding() -> None:
    found = await run(failing("p0"), Golden(prompts(1)))
    assert found.outcome is Outcome.FAIL
    assert SECRET not in repr(found) and "ask p0" not in repr(found)
    bad_engine = answer(fault="answered 500 instead of 200: CUDA error")
    assert (
        "p0: answered 500 instead of 200: CUDA error"
        in (await run(failing("p0", bad=bad_engine), Golden(prompts(1)))).reasons
    )


async def test_an_excerpt_is_kept_where_it_is_asked_for() -> None:
    found = await run(failing("p0", bad=text("bad\n" + "x" * 99)), Golden(prompts(1), excerpt_characters=6))
    assert found.reasons[1] == r'p0: the answer lacks contains[0] ("bad\nxx…")'


async def test_every_servers_answer_must_be_as_expected() -> None:
    one, other = GOOD.replies[0], BAD.replies[0]
    both = Answer("", 1.0, (one, ServerReply("http://b", "", 1.0, None, other.body)))
    assert (await run(failing("p0", bad=both), Golden(prompts(1)))).outcome is Outcome.FAIL


async def test_prompts_are_spread_over_the_backends() -> None:
    driver = failing()
    await run(driver, Golden(prompts(4)), backends=("http://a", "http://b"))
    assert [backend for backend, _, _ in driver.asked] == ["http://a", "http://b"] * 2


class TestWhatSaysNothing:
    async def test_an_engine_that_cannot_be_asked(self) -> None:
        driver = AskedDriver(lambda backend, version, question: not_sent("connection refused"))
        found = await run(driver, Golden(prompts(100)))
        assert found.outcome is Outcome.NOT_ENOUGH and found.more_requests == 100
        assert found.reasons == ("0 of 100 prompts of the golden set were asked, 0 failed; p7: connection refused",)
        assert len(driver.asked) == MISSES, "the rest can wait"

    async def test_a_driver_that_shows_no_answers(self) -> None:
        driver = AskedDriver(lambda backend, version, question: Answer("", 1.0))
        found = await run(driver, Golden(prompts(1)))
        assert found.outcome is Outcome.NOT_ENOUGH and "does not show answers" in found.reasons[0]

    async def test_one_lost_connection(self) -> None:
        said: list[Says] = [Answer("http://a did not answer /v1/x: reset", 0.1), GOOD]
        assert (await run(AskedDriver(lambda *_: said.pop(0)), Golden(prompts(1)))).outcome is Outcome.PASS

    async def test_two_lost_connections_are_the_candidates(self) -> None:
        lost = Answer("http://a did not answer /v1/x within 60 s", 60.0)
        found = await run(failing("p0", bad=lost), Golden(prompts(1)))
        assert found.outcome is Outcome.FAIL and found.reasons[1] == "p0: http://a did not answer /v1/x within 60 s"

    async def test_a_stable_version_that_is_not_there(self) -> None:
        driver = AskedDriver(
            lambda backend, version, question: BAD if version == "v2" else not_sent("v1 is not loaded")
        )
        found = await run(driver, Golden(prompts(1)))
        assert found.reasons[1] == "p0: the answer lacks contains[0]; v1 could not be asked: v1 is not loaded"

    async def test_a_model_that_is_gone(self) -> None:
        found = await GoldenWorker(lambda _: None).run(planned(golden=Golden(prompts(1))), WORK, 1000.0, None)
        assert found == Finding(Outcome.NOT_ENOUGH, ("model chat is not in fleet.yaml",))


class TestRepetition:
    async def test_a_long_set_is_asked_in_runs_of_a_minute(self) -> None:
        driver = AskedDriver(lambda backend, version, question: text("good", seconds=9.8))
        golden = Golden(prompts(20))
        found: Finding | None = None
        runs = 0
        while found is None or found.outcome is Outcome.NOT_ENOUGH:
            asked = len(driver.asked)
            found = await run(driver, golden, found)
            runs += 1
            # Answers come one after another on this clock: a minute has room for six, and four may be out.
            assert 6 <= len(driver.asked) - asked <= 10 or found.outcome is Outcome.PASS
            if found.outcome is Outcome.NOT_ENOUGH:
                assert found.more_requests == 20 - len(driver.asked)
                assert found.reasons == (f"{len(driver.asked)} of 20 prompts of the golden set were asked, 0 failed",)
        assert found.outcome is Outcome.PASS and runs >= 2
        assert len(driver.asked) == 20, "no prompt is asked twice"

    async def test_results_are_kept_with_their_words(self) -> None:
        driver = failing("p0", stable=("p0",))
        golden = Golden(prompts(2), pass_ratio=0.5)
        before = await run(driver, golden)
        again = await run(AskedDriver(lambda *_: not_sent()), golden, before)
        assert again.reasons == before.reasons

    @pytest.mark.parametrize(
        "change",
        [
            lambda carry: "",
            lambda carry: "[]",
            lambda carry: carry.replace('"set": "', '"set": "x'),
            lambda carry: carry[:-3],
        ],
    )
    async def test_results_of_another_set_do_not_count(self, change: Callable[[str], str]) -> None:
        golden = Golden(prompts(2))
        before = await run(failing(), golden)
        driver = failing()
        await run(driver, golden, Finding(Outcome.NOT_ENOUGH, (), carry=change(before.carry)))
        assert len(driver.asked) == 2

    async def test_results_of_another_step_do_not_count(self) -> None:
        driver, golden = failing(), Golden(prompts(1))
        before = await run(driver, golden)
        worker = GoldenWorker(lambda _: driver, monotonic=driver.now, sleep=driver.sleep)
        await worker.run(planned(golden=golden), Work(WorkKind.GOLDEN, 9), 1000.0, before)
        assert len(driver.asked) == 2


@pytest.fixture
async def judge() -> AsyncIterator[FakeJudge]:
    async with fake_judge() as running:
        yield running


class TestJudged:
    async def test_the_judge_decides(self, judge: FakeJudge) -> None:
        golden = Golden((prompt("p0", judged="It is polite."),), judge=Judge(judge.url, "big"))
        assert (await run(failing(), golden)).outcome is Outcome.PASS
        judge.says = "FAIL"
        found = await run(failing(), golden)
        assert found.outcome is Outcome.FAIL and found.reasons[1].startswith(
            "p0: the answer fails the judge's criterion"
        )

    async def test_a_judge_that_is_away_never_fails_the_candidate(self, judge: FakeJudge) -> None:
        golden = Golden((prompt("p0", judged="It is polite."), prompt("p1")), judge=Judge(judge.url, "big"))
        judge.status, judge.says = 500, "out of memory"
        found = await run(failing(), golden)
        assert found.outcome is Outcome.NOT_ENOUGH and found.more_requests == 1
        assert found.reasons[0].endswith("answered 500: out of memory")
        judge.status, judge.says = 200, "PASS"
        assert (await run(failing(), golden, found)).outcome is Outcome.PASS

    async def test_what_fails_without_the_judge_is_not_judged(self, judge: FakeJudge) -> None:
        golden = Golden((prompt("p0", judged="It is polite.", contains=("good",)),), judge=Judge(judge.url, "big"))
        assert (await run(failing("p0"), golden)).outcome is Outcome.FAIL
        assert [SECRET in str(body) for _, body in judge.asked] == [False], (
            "only the stable version's answer was judged"
        )
