"""Where a rollout stands, as tables: its steps, the time left or why it is not known, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind, WorkState
from controlplane.rollout.model import Phase, Rollout, Step, StepKind
from controlplane.rollout.reporting.progress import (
    NO_PAST,
    StepState,
    durations,
    plan_time,
    progress,
    way_back,
    way_back_later,
)
from controlplane.rollout.wishes import Wait, WaitKind, Wish, WishVerb
from controlplane.traffic.driver import BackendObservation, TrafficObservation, VersionState, all_to
from tests.fakes.canary import ANALYSE, APPROVE, BRING_UP, COMMIT, FIRST_SHIFT, KEEP, RETIRE, WATCH, A, B, at, plan

READY, GONE, UNKNOWN = VersionState.READY, VersionState.UNAVAILABLE, VersionState.UNKNOWN
DONE, CURRENT, AHEAD, STOPPED, SKIPPED = StepState
LOAD_7_MIN = {"load v1": 420.0, "load v2": 300.0}


def backend(url: str = A, v1: VersionState = READY, v2: VersionState = READY) -> BackendObservation:
    return BackendObservation(url, v1 is not UNKNOWN, {"v1": v1, "v2": v2}, {}, all_to("v1"))


def seen(*backends: BackendObservation) -> TrafficObservation:
    return TrafficObservation("chat", backends)


def test_each_step_is_done_current_or_ahead_with_its_times() -> None:
    found = progress(at(ANALYSE), seen(backend()), NO_PAST, now=250.0)
    assert [s.state for s in found.steps] == [DONE, DONE, CURRENT, *[AHEAD] * 6]
    assert [(s.since, s.until) for s in found.steps[:4]] == [(80, 90), (90, 100), (100, None), (None, None)]
    current = found.steps[ANALYSE]
    assert (current.number, current.fraction, current.left_s, current.left) == (3, 0.25, 450.0, "about 7 min 30 s")


def test_the_time_left_names_what_cannot_be_known() -> None:
    found = progress(at(ANALYSE), seen(backend()), NO_PAST, now=250.0)
    assert (found.left_s, found.left) == (None, "at least 8 min 30 s, and an approval")
    after = progress(at(WATCH, verified_since=100.0, phase=Phase.VERIFYING), seen(backend()), NO_PAST, now=115.0)
    assert (after.left_s, after.left) == (45.0, "about 45 s")


def test_a_wish_for_every_request_leaves_no_time_for_the_waits_that_it_skips() -> None:
    full = Wish(WishVerb.FULL, "bea", "operator", 150.0, ANALYSE)
    found = progress(at(ANALYSE, wishes=(full,)), seen(backend()), NO_PAST, now=160.0)
    assert (found.left_s, found.left) == (None, "at least 1 min, and an approval")


def test_after_the_switch_the_time_left_is_that_of_the_old_version() -> None:
    found = progress(at(KEEP, phase=Phase.DRAINING, switched=True), seen(backend()), NO_PAST, now=700.0)
    assert (found.fraction, found.left_s, found.left) == (1.0, 3000.0, "about 50 min")


@pytest.mark.parametrize(
    ("past", "now", "left_s", "words"),
    [
        (NO_PAST, 160.0, None, "unknown, as it depends on the first load of v2 (at most 10 min)"),
        (LOAD_7_MIN, 160.0, 240.0, "about 4 min"),
        (LOAD_7_MIN, 500.0, None, "unknown, as it depends on the load of v2, which takes longer than last time"),
    ],
    ids=["never loaded", "as last time", "longer than last time"],
)
def test_the_time_of_a_load_is_that_of_the_last_one(
    past: dict[str, float], now: float, left_s: float | None, words: str
) -> None:
    current = progress(at(BRING_UP, phase=Phase.PREPARING), None, past, now).steps[BRING_UP]
    assert (current.left_s, current.left) == (left_s, words)


@pytest.mark.parametrize(
    ("wait", "left_s", "words"),
    [
        (Wait(WaitKind.TIME, "v2 has 5% for 10 min", 400.0), 150.0, "about 2 min 30 s"),
        (Wait(WaitKind.OPERATOR, "paused by bea"), None, "at least 7 min 30 s, and a pause until someone resumes"),
        (Wait(WaitKind.DATA, "too few requests"), None, "unknown, as it depends on 40 more requests to v2"),
        (None, 450.0, "about 7 min 30 s"),
    ],
)
def test_the_wait_decides_the_time_left_of_a_step(wait: Wait | None, left_s: float | None, words: str) -> None:
    finding = Finding(Outcome.NOT_ENOUGH, ("60 of 100 requests",), more_requests=40)
    look = WorkState(Work(WorkKind.LOOK, ANALYSE, number=3), 240.0, finding, 241.0)
    current = progress(at(ANALYSE, wait=wait, works=(look,)), None, NO_PAST, 250.0).steps[ANALYSE]
    assert (current.left_s, current.left) == (left_s, words)


def test_the_last_look_says_when_there_is_enough() -> None:
    finding = Finding(Outcome.NOT_ENOUGH, ("60 of 100 requests",), more_requests=40, enough_at=370.0)
    look = WorkState(Work(WorkKind.LOOK, ANALYSE, number=3), 240.0, finding, 241.0)
    wait = Wait(WaitKind.DATA, "too few requests")
    current = progress(at(ANALYSE, wait=wait, works=(look,)), None, NO_PAST, 250.0).steps[ANALYSE]
    assert (current.left_s, current.left) == (120.0, "about 2 min")


def test_a_wait_for_a_person_names_the_command_once() -> None:
    approval = at(APPROVE, wait=Wait(WaitKind.APPROVAL, "1 approval by an operator"))
    assert progress(approval, None, NO_PAST, 0).waits_for == "1 approval by an operator: `cp rollouts approve r-1`"
    told = replace(approval, wait=Wait(WaitKind.OPERATOR, "paused by bea; `cp rollouts resume r-1` goes on"))
    assert progress(told, None, NO_PAST, 0).waits_for == "paused by bea; `cp rollouts resume r-1` goes on"
    assert progress(at(APPROVE), None, NO_PAST, 0).waits_for == ""


def test_the_fraction_grows_to_one_at_the_switch() -> None:
    moments = [
        (at(BRING_UP), 100.0),
        (at(FIRST_SHIFT), 100.0),
        (at(ANALYSE), 100.0),
        (at(ANALYSE), 400.0),
        (at(APPROVE), 700.0),
        (at(WATCH, verified_since=700.0), 730.0),
        (at(COMMIT), 760.0),
        (at(KEEP, switched=True), 800.0),
    ]
    found = [progress(rollout, None, LOAD_7_MIN, now).fraction or 0.0 for rollout, now in moments]
    assert found == sorted(found)
    assert (found[0], found[-1], len(set(found))) == (0.0, 1.0, len(found))


def test_a_rollout_that_turned_back_shows_where_and_what_it_does() -> None:
    back = at(ANALYSE, phase=Phase.ROLLING_BACK, turned_at=300.0)
    found = progress(back, None, NO_PAST, 310.0)
    assert [s.state for s in found.steps] == [DONE, DONE, STOPPED, *[SKIPPED] * 6, CURRENT]
    assert (found.steps[ANALYSE].until, found.steps[-1].words) == (300.0, "bring v1 back on every backend")
    assert (found.fraction, found.left, found.next) == (None, "", "")
    ended = replace(back, phase=Phase.ROLLED_BACK, finished_at=320.0)
    last = progress(ended, None, NO_PAST, 400.0).steps[-1]
    assert (last.state, last.since, last.until) == (DONE, 300.0, 320.0)
    broken = replace(ended, phase=Phase.FAILED, needs_person=True)
    assert progress(broken, None, NO_PAST, 400.0).steps[-1].state is STOPPED


def test_a_rollout_that_succeeded_is_all_done_and_waits_for_nothing() -> None:
    done = at(RETIRE, phase=Phase.SUCCEEDED, switched=True, finished_at=130.0, wait=Wait(WaitKind.ENGINE, "v1"))
    found = progress(done, seen(backend(v1=GONE)), NO_PAST, 1000.0)
    assert {s.state for s in found.steps} == {DONE}
    assert (found.fraction, found.left, found.waits_for, found.next) == (1.0, "", "", "")
    assert found.steps[-1].until == 130.0


def test_a_rollout_of_an_earlier_release_has_no_times_and_still_shows() -> None:
    old = at(ANALYSE, steps_at=(), held_since=None)
    found = progress(old, None, NO_PAST, 500.0)
    assert [s.state for s in found.steps[:4]] == [DONE, DONE, CURRENT, AHEAD]
    assert {s.since for s in found.steps} == {None}


@pytest.mark.parametrize(
    ("observed", "past", "words", "seconds"),
    [
        (seen(backend()), NO_PAST, "v1 is loaded: under a second", 1.0),
        (seen(backend(v1=GONE)), LOAD_7_MIN, "v1 must load again: about 7 min, as last time", 420.0),
        (
            seen(backend(v1=GONE)),
            {"load v2": 300.0},
            "v1 must load again: at most 10 min, as no load of v1 was measured yet; v2 took 5 min",
            None,
        ),
        (seen(backend(v1=UNKNOWN)), LOAD_7_MIN, f"whether v1 is loaded on {A} is not known: it does not answer", None),
        (None, LOAD_7_MIN, "whether v1 is loaded is not known: the model was not observed yet", None),
    ],
)
def test_the_way_back_is_said_beforehand(
    observed: TrafficObservation | None, past: dict[str, float], words: str, seconds: float | None
) -> None:
    found = way_back(plan(), observed, past)
    assert (found.words, found.seconds) == (words, seconds)


def test_the_way_back_counts_the_backends_that_must_load() -> None:
    found = way_back(plan(backends=(A, B)), seen(backend(A), backend(B, v1=GONE)), LOAD_7_MIN)
    assert found.words == "v1 must load again on 1 of 2 backends: about 7 min, as last time"


def test_a_plan_says_its_time_and_the_way_back_afterwards() -> None:
    assert plan_time(plan(), None, LOAD_7_MIN).words == "at least 16 min, and an approval"
    assert plan_time(plan(Step(StepKind.WATCH, hold_s=5.0)), None, NO_PAST).words == "about 5 s"
    assert way_back_later(plan(), LOAD_7_MIN) == (
        "v1 stays loaded for 1 h after the switch: under a second. Then v1 must load again: about 7 min, as last time"
    )
    assert way_back_later(plan(resident=False), LOAD_7_MIN) == "v1 must load again: about 7 min, as last time"
    assert way_back_later(plan(Step(StepKind.WATCH, hold_s=5.0)), LOAD_7_MIN).startswith(
        "v1 stays loaded until v2 is the stable version: under a second. Then"
    )


def test_durations_come_from_the_newest_rollout_that_really_loaded() -> None:
    def loaded(version: str, took_s: float, *more: float) -> Rollout:
        done = at(ANALYSE, steps_at=(0.0, took_s, *more))
        return replace(done, plan=replace(done.plan, to_version=version))

    past = durations([loaded("v1", 1.0), loaded("v2", 90.0), loaded("v1", 420.0, 430.0), loaded("v1", 400.0)])
    assert past == {"load v1": 420.0, "load v2": 90.0, "shift": 10.0}
    assert durations([loaded("v1", 1.0)]) == {"load v1": 1.0}
    assert durations([at(ANALYSE, steps_at=())]) == {}
