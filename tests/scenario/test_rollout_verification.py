"""The verification of a candidate, second by second: the candidate fails, passes, or is only loaded."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sqlmodel import select

from collectors.probe.question import Expectation
from controlplane.rollout.model import Check, Evidence, Phase
from controlplane.rollout.verification import Verification
from controlplane.rollout.words.step_words import step_sentences
from controlplane.store.tables.rollouts import RolloutRow
from controlplane.traffic.driver import Question
from tests.fakes.rollout_world import BODY, START, World, asking


async def test_a_candidate_that_answers_is_verified_and_says_by_what(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(3)) as world:
        await world.promote()
        assert world.triton.asked == [(1, "infer", BODY)], "planning asks the stable version once"
        await world.tick()
        words = "verifying: v2 serves on A and is asked 3 questions from `verify:` in fleet.yaml"
        assert await world.tick() == words
        assert world.triton.asked[1:] == [(2, "infer", BODY)] * 3
        line = await world.tick()
        assert line.startswith("verifying: v2 serves on A; 3 of 3 questions answered well, the slowest in 0.")
        assert line.endswith("it must serve without a break for 5 s")
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, True)
        assert latest.evidence.startswith("3 of 3 questions answered well")
        assert latest.sentence == "v2 serves, v1 has finished its requests and is unloaded"
        assert len(world.triton.asked) == 4, "nothing is asked again"


async def test_a_candidate_that_fails_every_request_is_turned_back_at_the_first_answer(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(5)) as world:
        world.triton.raises[2] = "RuntimeError: CUDA error: out of memory"
        await world.promote()
        await world.tick()
        await world.tick()
        assert [version for version, *_ in world.triton.asked] == [1, 2, 1], "v1 is asked what v2 refuses"
        line = await world.tick()
        assert line == (
            "rolling-back: v2 failed 1 of 1 question on A: answered 400 instead of 200: Failed to process the "
            "request(s) for model 'model_0_0', message: RuntimeError: CUDA error: out of memory; v1 "
            "answers it well. Rolling back to v1: ordering v1 on A"
        )
        latest = await world.finish()
        assert (latest.phase, latest.wished, latest.verified) == (Phase.ROLLED_BACK, False, None)
        assert latest.sentence.endswith("v1 answers it well. v1 serves again (5 of 5 questions answered well)")
        assert (world.triton.serving, world.triton.loads) == (1, [[1, 2], [1]])
        assert (await world.service.model("model")).stable == "v1"


async def test_failures_up_to_the_limit_are_borne(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(3, failures=3)) as world:
        world.triton.raises[2] = "flaky"
        await world.promote()
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, False), "it answered nothing well: that is no verification"
        assert "no question got a good answer" in latest.evidence


async def test_a_candidate_that_hangs_is_turned_back_at_the_deadline_of_the_first_question(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(5, timeout_s=0.2)) as world:
        world.triton.hangs = {2}
        await world.promote()
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        assert "v2 failed 1 of 1 question on" in latest.sentence
        assert "did not answer /v2/models/model/versions/2/infer within 0.2 s" in latest.sentence


async def test_a_candidate_whose_first_request_kills_the_server(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(5)) as world:
        world.triton.kills = {2}
        await world.promote()
        await world.tick()
        await world.tick()
        line = await world.tick()
        assert line.startswith("rolling-back: v2 failed 1 of 1 question on A: A did not answer /v2/models/model")
        assert "Rolling back to v1: A does not answer, what it serves is unknown" in line
        world.triton.restart()
        world.triton.reachable = True
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        assert latest.sentence.endswith("v1 serves again (5 of 5 questions answered well)")
        assert world.triton.serving == 1


async def test_a_server_that_the_candidate_killed_for_good_needs_a_person(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(5)) as world:
        world.triton.kills = {2}
        await world.promote()
        assert [(r.model, r.plan.to_version) for r in world.service.running()] == [("model", "v2")]
        for _ in range(3):
            await world.tick()
        line = await world.tick(61)
        assert line.startswith("failed: v2 failed 1 of 1 question on A")
        assert "Whether v1 serves again is unknown, and this needs a person: A does not answer" in line
        latest = await world.latest()
        assert (latest.needs_person, latest.wished) == (True, False)
        assert world.service.running() == ()
        (need,) = world.service.attention()
        assert (need.need, need.model, need.rollout) == ("person", "model", latest.id)
        assert world.told()[-1] == "critical: Rollout of model to v2 needs a person"
        world.triton.restart()
        world.triton.reachable = True
        world.clock.time += 1
        await world.engine.tick(world.clock.now())
        assert world.service.attention() == (), "v1 was seen to serve everywhere: nothing is left to do"


async def test_a_slow_candidate_is_turned_back_by_its_median(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(3, latency_s=1e-9)) as world:
        await world.promote()
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        assert "v2 is slow on" in latest.sentence
        assert "the limit is 1e-09 s" in latest.sentence


async def test_each_backend_is_asked_before_the_next_one_is_touched(tmp_path: Path) -> None:
    async with World(tmp_path, backends=2, verification=asking(2)) as world:
        world.triton.raises[2] = "weights of the wrong model"
        await world.promote()
        await world.tick()
        assert await world.tick() == "switching: v2 serves on A and is asked 2 questions from `verify:` in fleet.yaml"
        latest = await world.finish()
        assert latest.phase is Phase.ROLLED_BACK
        assert [server.loads for server in world.servers] == [[[1, 2], [1]], []]
        world.triton.raises.clear()
        await world.lift()
        await world.promote()
        assert (await world.finish()).verified is True
        assert [sum(v == 2 for v, *_ in s.asked) for s in world.servers] == [3, 2]


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Evidence(20, 3, "engine"), "3 of 20 requests to v2 failed, as the engine counts them; the limit is 5%"),
        (Evidence(alerts=("LLMErrorRateHigh (9% fail)",)), "alert on v2 fires: LLMErrorRateHigh (9% fail)"),
        (Evidence(20, 0, "gateway", mean_s=3), "requests to v2 take 3 s on average, as the gateway measures them"),
    ],
)
async def test_what_others_see_turns_it_back_as_well(tmp_path: Path, evidence: Evidence, words: str) -> None:
    async with World(tmp_path, verification=asking(1, latency_s=2.0)) as world:
        await world.promote()
        for _ in range(3):
            await world.tick()
        world.evidence = evidence
        assert words in await world.tick()
        assert (await world.finish()).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(2, 2, "engine"),
        Evidence(100, 5, "engine"),
        Evidence(9, 0, "gateway", mean_s=3),
        Evidence(unknown="the metrics server does not answer"),
    ],
    ids=["two failures are no share", "as many as may fail", "too few for a mean", "nothing can be read"],
)
async def test_what_is_too_little_to_say_anything_turns_nothing_back(tmp_path: Path, evidence: Evidence) -> None:
    async with World(tmp_path, verification=asking(1, latency_s=2.0)) as world:
        world.evidence = evidence
        await world.promote()
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, True)


async def test_without_a_question_requests_that_were_counted_verify_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.evidence = Evidence(240, 1, "engine", mean_s=0.2)
        await world.promote()
        latest = await world.finish()
        assert latest.verified is True
        assert latest.evidence == "1 of 240 requests failed by the engine's count, which misses many failures"


async def test_with_nothing_to_ask_or_to_look_at_it_is_loaded_and_not_tried(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.evidence = Evidence()
        await world.promote()
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, False)
        assert latest.evidence == (
            "fleet.yaml has neither a `verify:` nor a probe for this model, and no request to it was counted"
        )
        assert latest.sentence.endswith("; v2 is loaded, not tried")
        assert world.told() == [
            "info: Promotion of model to v2 began",
            "info: model is on v2, loaded and not tried",
        ]


async def test_a_rollback_is_not_argued_with(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(2)) as world:
        await world.promote()
        await world.finish()
        world.triton.raises[1] = "still broken"
        await world.service.rollback("model", actor="bob")
        latest = await world.finish()
        assert (latest.ok, latest.verified, world.triton.serving) == (True, False, 1)
        assert latest.evidence.startswith("warning: v1 failed 1 of 1 question on")


async def test_a_question_that_even_the_stable_version_fails_is_doubted_when_planning(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(2)) as world:
        world.triton.raises[1] = "no such input"
        *_, note = (await world.service.plan("model", "v2")).notes
        assert note.startswith("v1 itself does not answer the question of `verify:` in fleet.yaml well (answered 400")
        assert note.endswith("v2 is not rolled back if it refuses the question too, and not verified by it")


async def test_killed_while_asking_it_asks_anew_and_ends_the_same(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(3)) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        await world.crash()
        assert await world.tick() == "verifying: v2 serves on A and is asked 3 questions from `verify:` in fleet.yaml"
        latest = await world.finish()
        assert (latest.verified, latest.trials[0].asked) == (True, 3)
        assert [version for version, *_ in world.triton.asked].count(2) == 6


async def test_every_step_is_logged_on_one_line_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "controlplane.rollout")
    async with World(tmp_path, verification=asking(1)) as world:
        world.triton.raises[2] = "Boom"
        rollout = await world.promote()
        for _ in range(5):
            await world.tick()
            await world.tick()
            await world.crash()
        view = await world.service.show(rollout.id)
        logged = [r.getMessage() for r in caplog.records if r.name.startswith("controlplane.rollout")]
        assert logged == [f"rollout {rollout.id} of model: {e.phase}: {e.sentence}" for e in view.events]
        assert [r.levelname for r in caplog.records if ": rolled-back: " in r.getMessage()] == ["WARNING"]
        assert world.told() == [
            "info: Promotion of model to v2 began",
            "warning: v2 of model failed; v1 serves",
        ]
        (need,) = world.service.attention()
        assert (need.need, need.rollout) == ("went_back", rollout.id)
        world.clock.time = START + 25 * 3600
        assert world.service.attention() == ()


async def test_what_an_operator_asked_for_is_no_failure(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        await world.service.rollback("model", actor="bob")
        latest = await world.finish()
        assert (latest.phase, latest.wished) == (Phase.ROLLED_BACK, True)
        assert world.service.attention() == ()
        assert world.told()[-1] == "info: model is back on v1, as asked"


async def test_a_rollout_that_waits_for_a_silent_backend_is_told_once_and_listed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.promote()
        await world.tick()
        await world.tick()
        world.triton.reachable = False
        for _ in range(5):
            await world.tick(12)
        assert world.service.attention() == ()
        await world.tick(12)
        assert [need.need for need in world.service.attention()] == ["waiting"]
        assert world.told()[1:] == ["warning: Rollout of model to v2 waits"]
        world.triton.reachable = True
        await world.finish()
        assert world.service.attention() == ()


def of_a_probe(failures: int = 0) -> Verification:
    """Return the check of a probe with three questions, each with another answer."""
    questions = tuple(
        Question("generate", {"text_input": prompt}, 200, 30.0, Expectation(regex=f"^{answer}$"), prompt=prompt)
        for prompt, answer in (("1 + 1?", "2"), ("1 + 2?", "3"), ("1 + 3?", "4"))
    )
    return Verification(Check(questions, 5, failures, origin="the model's probe"))


RIGHT = {"1 + 1?": "2", "1 + 2?": "3", "1 + 3?": "4"}


async def test_every_question_of_a_probe_is_asked_in_turn_and_right_answers_verify(tmp_path: Path) -> None:
    async with World(tmp_path, verification=of_a_probe()) as world:
        world.triton.says = {1: RIGHT, 2: RIGHT}
        planned = step_sentences((await world.promote()).plan)
        assert planned[1] == (
            "ask v2 5 times with the 3 questions of the model's probe, within 30 s each; at most 0 bad answers are "
            "allowed; v1 stays loaded meanwhile"
        )
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, True)
        asked = [(version, body["text_input"]) for version, _, body in world.triton.asked]
        stable = [(1, prompt) for prompt in RIGHT]
        assert asked == [*stable, *((2, prompt) for prompt in (*RIGHT, "1 + 1?", "1 + 2?"))]


async def test_a_wrong_answer_to_a_later_question_turns_it_back_with_the_evidence(tmp_path: Path) -> None:
    async with World(tmp_path, verification=of_a_probe()) as world:
        world.triton.says = {1: RIGHT, 2: RIGHT | {"1 + 3?": "five"}}
        await world.promote()
        for _ in range(2):
            await world.tick()
        line = await world.tick()
        assert line == (
            'rolling-back: v2 failed 1 of 3 questions on A: question 3 of 3 ("1 + 3?"): expected a text that matches '
            '"^4$", and "five" came from A. Rolling back to v1: ordering v1 on A'
        )
        latest = await world.finish()
        assert (latest.phase, latest.verified) == (Phase.ROLLED_BACK, None)
        assert latest.sentence.endswith("v1 serves again (5 of 5 questions answered well)")


async def test_wrong_answers_up_to_the_limit_are_borne(tmp_path: Path) -> None:
    async with World(tmp_path, verification=of_a_probe(failures=1)) as world:
        world.triton.says = {1: RIGHT, 2: RIGHT | {"1 + 3?": "five"}}
        await world.promote()
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, True)
        assert latest.evidence.startswith("4 of 5 questions answered well")


async def test_a_wrong_answer_of_the_stable_version_is_doubted_when_planning(tmp_path: Path) -> None:
    async with World(tmp_path, verification=of_a_probe()) as world:
        world.triton.says = {1: RIGHT | {"1 + 2?": "33"}}
        *_, note = (await world.service.plan("model", "v2")).notes
        assert note.replace(world.triton.url, "A") == (
            'v1 itself does not answer the questions of the model\'s probe well (question 2 of 3 ("1 + 2?"): expected '
            'a text that matches "^3$", and "33" came from A). If the question is wrong, v2 will be rolled back too'
        )


async def test_a_rollout_of_a_release_with_one_question_goes_on_asking_it(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(3)) as world:
        await world.promote()
        await world.tick()
        with world.db.transaction() as session:
            row = session.exec(select(RolloutRow)).one()
            check = dict(row.state["check"])
            (question,) = check.pop("questions")
            old = {name: question[name] for name in ("path", "body", "status", "timeout_s")}
            del check["answered"]
            row.state = {**row.state, "format": 6, "check": {**check, "question": old}}
        await world.crash()
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, True)
        assert world.triton.asked[1:] == [(2, "infer", BODY)] * 3


async def test_a_question_that_both_versions_refuse_rolls_nothing_back_and_verifies_nothing(tmp_path: Path) -> None:
    async with World(tmp_path, verification=asking(2)) as world:
        world.triton.raises = {1: "no such input", 2: "no such input"}
        rollout = await world.promote()
        assert rollout.plan.notes[-1].endswith(
            "v2 is not rolled back if it refuses the question too, and not verified by it"
        )
        latest = await world.finish()
        assert (latest.phase, latest.ok, latest.verified) == (Phase.SUCCEEDED, True, False)
        assert latest.evidence.startswith(
            "no question got a good answer (answered 400 instead of 200: Failed to process the request(s) for model "
            "'model_0_0', message: no such input; v1 refuses it too), and "
        )
        assert [version for version, *_ in world.triton.asked] == [1, 2, 1, 2], "v1 is compared once for each question"
        assert world.told()[-1] == "info: model is on v2, loaded and not tried"


async def test_a_refused_question_among_good_ones_is_told_and_the_others_verify(tmp_path: Path) -> None:
    async with World(tmp_path, verification=of_a_probe()) as world:
        world.triton.says = {1: RIGHT, 2: RIGHT}
        world.triton.refuses = {"1 + 3?"}
        await world.promote()
        latest = await world.finish()
        assert (latest.ok, latest.verified) == (True, True)
        assert latest.evidence.startswith("4 of 5 questions answered well, the slowest in 0.")
        assert latest.evidence.endswith(
            '1 question did not fit: question 3 of 3 ("1 + 3?"): answered 422 instead of 200: wrong input; '
            "v1 refuses it too"
        )


@pytest.mark.parametrize(
    ("stable_raises", "end"),
    [
        ({}, "rolled-back: v2 failed 1 of 1 question on A: answered 400"),
        ({3: "no such input"}, "succeeded: v2 serves, v3 has finished"),
    ],
    ids=["it answered well", "it refused it too"],
)
async def test_where_the_old_version_is_gone_its_answer_at_planning_counts(
    tmp_path: Path, stable_raises: dict[int, str], end: str
) -> None:
    """Triton cannot keep a higher version loaded beside v2, so nothing is left to compare with."""
    async with World(tmp_path, verification=asking(2)) as world:
        await world.promote("v3")
        await world.finish()
        world.triton.raises = {2: "no such input", **stable_raises}
        await world.promote("v2")
        latest = await world.finish()
        assert f"{latest.phase}: {latest.sentence}".replace(world.triton.url, "A").startswith(end)
        if not stable_raises:
            assert "no such input; v3 answered it well before the rollout" in latest.sentence
        else:
            assert "no such input; v3 did not answer it well before the rollout" in latest.evidence
            assert latest.verified is False
