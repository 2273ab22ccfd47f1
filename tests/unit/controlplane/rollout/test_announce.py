"""The messages of a rollout that asks a person, and the same waits in Needs attention."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.announce import Announcer
from controlplane.rollout.attention import Need, attention
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.wishes import Wait, WaitKind, Wish, WishVerb
from tests.fakes.canary import ANALYSE, APPROVE, WATCH, at

ANNOUNCER = Announcer("ops", "http://console")
APPROVAL = Wait(WaitKind.APPROVAL, "Waiting for 1 approval by role operator")
NO_DATA = Wait(WaitKind.OPERATOR, "the analysis has no verdict yet")
PAUSE = Wish(WishVerb.PAUSE, "bea", "operator", 200.0, ANALYSE)


def said(before: Rollout, after: Rollout) -> list[tuple[str, str, str]]:
    messages = ANNOUNCER.messages(before, after, 500.0)
    return [(m.notice.title, m.notice.text, m.notice.severity) for m in messages if m.notice is not None]


def test_an_approval_is_asked_for_once_a_step() -> None:
    running, asks = at(APPROVE), at(APPROVE, wait=APPROVAL)
    title = "Rollout of chat to v2 waits for an approval"
    assert said(running, asks) == [
        (title, "Waiting for 1 approval by role operator: `cp rollouts approve r-1`.", "info")
    ]
    fewer = replace(asks, wait=replace(APPROVAL, words="Waiting for 1 more approval"))
    assert said(asks, fewer) == []
    assert said(asks, replace(running, step=WATCH)) == []
    assert len(said(at(ANALYSE, wait=APPROVAL), asks)) == 1


def test_missing_data_asks_for_a_decision_with_an_id_of_its_own() -> None:
    asks = at(ANALYSE, wait=NO_DATA)
    assert said(at(ANALYSE), asks) == [
        (
            "Rollout of chat to v2 needs a decision",
            "the analysis has no verdict yet: `cp rollouts resume r-1`.",
            "warning",
        )
    ]
    waits = [asks, at(ANALYSE, wait=APPROVAL), at(APPROVE, wait=APPROVAL), at(APPROVE, wait=NO_DATA)]
    ids = [ANNOUNCER.messages(at(WATCH), each, 500.0)[0].id for each in waits]
    assert len(set(ids)) == len(ids)
    assert ids[0] == ANNOUNCER.messages(at(WATCH), asks, 900.0)[0].id, "a repetition after a crash has the same id"


def test_a_pause_by_an_operator_is_no_message() -> None:
    assert said(at(ANALYSE), at(ANALYSE, wait=NO_DATA, wishes=(PAUSE,))) == []


def test_the_last_message_says_what_follows() -> None:
    before = at(ANALYSE, phase=Phase.ROLLING_BACK, reason="v2 fails more")
    after = replace(before, phase=Phase.ROLLED_BACK, sentence="v2 fails more. v1 serves again", finished_at=300.0)
    [(title, text, severity)] = said(before, after)
    assert (title, severity) == ("v2 of chat failed; v1 serves", "warning")
    assert "v2 is in quarantine and cannot be promoted. Next step: Mend v2" in text


@pytest.mark.parametrize(
    ("rollout", "need", "since"),
    [
        (at(APPROVE, wait=APPROVAL), Need.DECISION, 100.0),
        (at(ANALYSE, wait=NO_DATA), Need.WAITING, 100.0),
        (at(ANALYSE, wait=NO_DATA, wishes=(PAUSE,)), Need.DECISION, 200.0),
        (at(ANALYSE, wait=Wait(WaitKind.TIME, "10 min")), None, None),
    ],
)
def test_the_same_waits_need_attention(rollout: Rollout, need: Need | None, since: float | None) -> None:
    found = [(a.need, a.since) for a in attention([rollout], (), 500.0)]
    assert found == ([] if need is None else [(need, since)])
