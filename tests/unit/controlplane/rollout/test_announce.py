"""The messages of a rollout that asks a person, and the same waits in Needs attention."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.rollout.announce import Announcer
from controlplane.rollout.attention import Need, attention
from controlplane.rollout.model import Phase, Rollout
from controlplane.rollout.wishes import Wait, WaitKind, Wish, WishVerb
from tests.fakes.canary import ANALYSE, APPROVE, KEEP, RETIRE, SECOND_SHIFT, WATCH, at

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


BUTTONS = Announcer("ops", "http://console", buttons=True)


def drawn(before: Rollout | None, after: Rollout) -> list[tuple[str, str, bool, list[str]]]:
    """Return (group, title, whether it is an edit, buttons) of each message of a step."""
    found = BUTTONS.messages(before, after, 500.0, "v1 is loaded: under a second")
    return [(m.group_key, m.notice.title, m.edit, [b.text for b in m.buttons]) for m in found if m.notice is not None]


ABOUT, ASK = "rollout r-1", f"rollout r-1 step {APPROVE + 1} approval"
UNDER_WAY, ANSWERS = ["Roll back", "Details"], ["Approve", "Reject and roll back", "Details"]


def test_a_phase_edits_the_message_about_the_rollout_and_a_mere_step_does_not() -> None:
    assert drawn(None, at(0, phase=Phase.PLANNED)) == [(ABOUT, "Promotion of chat to v2 began", False, UNDER_WAY)]
    switching, verifying = at(ANALYSE), at(WATCH, phase=Phase.VERIFYING)
    assert drawn(switching, verifying) == [(ABOUT, "Rollout of chat to v2 is verifying", True, UNDER_WAY)]
    assert BUTTONS.offers(switching, verifying)
    assert drawn(verifying, replace(verifying, sentence="another one", updated_at=9.0)) == []
    assert not BUTTONS.offers(verifying, replace(verifying, sentence="another one"))
    back = replace(verifying, phase=Phase.ROLLING_BACK, reason="v2 fails more", sentence="v2 fails more. Going back")
    assert drawn(verifying, back) == [(ABOUT, "Rollout of chat to v2 goes back to v1", True, ["Details"])]
    keeps, retires = (at(step, phase=Phase.DRAINING, switched=True) for step in (KEEP, RETIRE))
    assert drawn(keeps, retires) == [(ABOUT, "Rollout of chat to v2 is draining", True, UNDER_WAY)]


def test_a_question_is_asked_once_then_edited_and_its_buttons_end_with_the_step() -> None:
    asks = at(APPROVE, wait=APPROVAL)
    assert drawn(at(APPROVE), asks) == [(ASK, "Rollout of chat to v2 waits for an approval", False, ANSWERS)]
    (message,) = BUTTONS.messages(at(APPROVE), asks, 500.0, "")
    assert message.buttons[0].value == f"r-1 {APPROVE}"
    fewer = replace(asks, wait=replace(APPROVAL, words="Waiting for 1 more approval"))
    assert drawn(asks, fewer) == [(ASK, "Rollout of chat to v2 waits for an approval", True, ANSWERS)]
    approved = Wish(WishVerb.APPROVE, "bob", "operator", 300.0, APPROVE)
    again = replace(approved, actor="eve")
    goes_on = at(SECOND_SHIFT, wishes=(approved, again, approved))
    assert drawn(fewer, goes_on) == [(ASK, "Rollout of chat to v2 was approved", True, [])]
    (closed,) = BUTTONS.messages(fewer, goes_on, 500.0)
    assert closed.notice is not None
    assert closed.notice.text == "Approved by bob and eve."
    full = replace(goes_on, wishes=(Wish(WishVerb.FULL, "ann", "admin", 300.0, APPROVE),))
    (closed,) = BUTTONS.messages(fewer, full, 500.0)
    assert closed.notice is not None
    assert closed.notice.text == "ann gave v2 every request at once."


def test_a_question_that_a_pause_covered_ends_with_its_step_too() -> None:
    paused = at(APPROVE, wait=Wait(WaitKind.OPERATOR, "Paused by bea"), wishes=(replace(PAUSE, step=APPROVE),))
    assert drawn(at(APPROVE, wait=APPROVAL), paused) == []
    back = replace(paused, phase=Phase.ROLLING_BACK, wait=None, turn_back="Aborted by bea")
    assert (ASK, "Rollout of chat to v2 goes back", True, []) in drawn(paused, back)


def test_the_end_takes_every_button_away_and_is_no_edit() -> None:
    ended = at(APPROVE, phase=Phase.FAILED, finished_at=300.0, ending=None)
    assert drawn(at(APPROVE, wait=APPROVAL), ended) == [
        (ABOUT, "v2 of chat failed; v1 serves", False, []),
        (ASK, "Rollout of chat to v2 goes back", True, []),
    ]


def test_edits_have_ids_of_their_own_and_without_buttons_there_are_none() -> None:
    before, after = at(ANALYSE), at(WATCH, phase=Phase.VERIFYING)
    ids = {BUTTONS.messages(before, after, now, "")[0].id for now in (500.0, 500.001, 501.0)}
    assert len(ids) == 3
    assert ANNOUNCER.messages(before, after, 500.0) == ()
    assert not ANNOUNCER.offers(before, after)


def test_the_dialog_says_beforehand_how_long_a_rollback_takes_and_fits_slack() -> None:
    (message,) = BUTTONS.messages(
        at(ANALYSE), at(WATCH, phase=Phase.VERIFYING), 500.0, "v1 must load again: about 7 min"
    )
    (back,) = [button for button in message.buttons if button.action == "rollout.back"]
    assert back.confirm == (
        "Send every request of chat to v1 again and take v2 out? Time needed: v1 must load again: about 7 min."
    )
    assert (back.style, back.value) == ("danger", "r-1")


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
