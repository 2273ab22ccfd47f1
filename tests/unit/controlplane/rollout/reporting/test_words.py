"""Waits for people in words, and what follows from a rollout that did not succeed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.findings import Work, WorkKind
from controlplane.rollout.model import Phase, Rollout, RolloutKind
from controlplane.rollout.reporting.aftermath import aftermath
from controlplane.rollout.reporting.words import question, waits_for, work_words
from controlplane.rollout.wishes import Wait, WaitKind, Wish, WishVerb
from tests.fakes.canary import ANALYSE, APPROVE, at

PAUSE = Wish(WishVerb.PAUSE, "bea", "operator", 200.0, ANALYSE, "incident")
RESUME = replace(PAUSE, verb=WishVerb.RESUME, at=300.0)


def test_a_wait_for_a_person_names_the_command_once() -> None:
    approval = at(APPROVE, wait=Wait(WaitKind.APPROVAL, "1 approval by an operator"))
    assert waits_for(approval) == "1 approval by an operator: `cp rollouts approve r-1`"
    told = replace(approval, wait=Wait(WaitKind.OPERATOR, "a hook failed; `cp rollouts resume r-1` goes on"))
    assert waits_for(told) == "a hook failed; `cp rollouts resume r-1` goes on"
    assert waits_for(replace(approval, wait=Wait(WaitKind.TIME, "10 min"))) == "10 min"
    assert waits_for(at(APPROVE)) == ""
    assert waits_for(replace(approval, phase=Phase.FAILED)) == ""


@pytest.mark.parametrize(
    ("kind", "wishes", "asks"),
    [
        (WaitKind.APPROVAL, (), True),
        (WaitKind.OPERATOR, (), True),
        (WaitKind.OPERATOR, (PAUSE,), False),
        (WaitKind.OPERATOR, (PAUSE, RESUME), True),
        (WaitKind.DATA, (), False),
        (WaitKind.ENGINE, (), False),
    ],
)
def test_only_a_wait_that_nobody_asked_for_asks_a_person(kind: WaitKind, wishes: tuple[Wish, ...], asks: bool) -> None:
    rollout = at(ANALYSE, wait=Wait(kind, "words"), wishes=wishes)
    assert (question(rollout) is not None) is asks


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (Work(WorkKind.LOOK, 2, number=16), "look 16"),
        (Work(WorkKind.WARM, 2, "http://a:8000"), "warm-up on http://a:8000"),
        (Work(WorkKind.HOOK, 2, "backup"), "hook backup"),
        (Work(WorkKind.CHECK, 2, "load test"), "check load test"),
        (Work(WorkKind.GOLDEN, 2), "golden set"),
        (Work(WorkKind.MIRRORED, 2), "mirrored answers"),
    ],
)
def test_every_work_has_a_name(work: Work, words: str) -> None:
    assert work_words(work) == words


def ended(phase: Phase, **changes: object) -> Rollout:
    base = at(ANALYSE, phase=phase, reason="v2 fails more", sentence="v2 fails more. The rest", finished_at=200.0)
    return replace(base, **changes)  # type: ignore[arg-type]  # keyword arguments of any field


def test_a_version_in_quarantine_is_named_with_the_way_out() -> None:
    after = aftermath(ended(Phase.ROLLED_BACK), quarantined=True)
    assert after is not None
    assert after.cause == "v2 fails more"
    assert after.consequence == "v1 serves chat again; v2 is in quarantine and cannot be promoted"
    assert after.next.endswith("If v2 is not the cause: `cp quarantine lift chat v2 --reason TEXT`")


def test_without_a_quarantine_the_same_rollout_can_be_started_again() -> None:
    failed = aftermath(ended(Phase.FAILED), quarantined=False)
    assert failed is not None
    assert failed.consequence == "No client request of chat reached v2; v1 serves as before"
    assert failed.next == "Mend v2 or promote another version, then `cp rollouts retry r-1`"
    wished = aftermath(ended(Phase.FAILED, turn_back="Aborted by ann", reason="Aborted by ann"), quarantined=False)
    assert wished is not None
    assert wished.next == "`cp rollouts retry r-1` starts it again"


def test_what_a_person_must_repair_comes_first() -> None:
    words = "v2 fails more. The rollback to v1 failed: http://a:8000 serves no version"
    after = aftermath(ended(Phase.FAILED, needs_person=True, sentence=words), quarantined=False)
    assert after is not None
    assert after.consequence == "The rollback to v1 failed: http://a:8000 serves no version"
    assert after.next.startswith("Repair what the sentence names")


def test_a_rollback_that_failed_is_tried_again() -> None:
    back = ended(Phase.FAILED)
    after = aftermath(replace(back, plan=replace(back.plan, kind=RolloutKind.ROLLBACK)), quarantined=False)
    assert after is not None
    assert after.next == "`cp rollback chat` tries again"


def test_what_runs_or_succeeded_has_no_aftermath() -> None:
    assert aftermath(at(ANALYSE), quarantined=False) is None
    assert aftermath(ended(Phase.SUCCEEDED), quarantined=False) is None
