from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from alerts.errors import NotReadable
from alerts.interfaces import Above, AlertInstance, AlertState, Button, Escalated, Message, Notice, OnCall
from alerts.notify.card import SHOWN, render
from alerts.notify.words import CHINESE
from alerts.wire import instance_from_json, instance_to_json, message_from_json, message_to_json

ALERT = AlertInstance(
    rule="f;g;A",
    labels=(("alertname", "A"), ("model", "chat")),
    annotations=(("note", ""), ("summary", "°C")),
    state=AlertState.FIRING,
    value=1.25,
    active_at=1.5,
    fired_at=2.5,
)
MESSAGE = Message(
    "k", "ops", "firing", (("model", "chat"),), (ALERT,), (ALERT,), 2, 7, "http://c", datetime(2026, 1, 1, tzinfo=UTC)
)


@pytest.mark.parametrize("value", [0.0, -1e300, math.inf, -math.inf])
def test_an_instance_survives_strict_json(value: float) -> None:
    instance = replace(ALERT, value=value)
    assert instance_from_json(json.loads(json.dumps(instance_to_json(instance), allow_nan=False))) == instance


@pytest.mark.parametrize("changes", [[1.0], [1.0, 2.0, 3.0], [math.nan, 2.0], [1.0, math.inf], ["1", "2"], "12"])
def test_changes_that_are_no_pairs_of_times_are_refused(changes: object) -> None:
    with pytest.raises(NotReadable):
        instance_from_json(instance_to_json(ALERT) | {"changes": changes})


def test_nan_becomes_null_and_nan_again() -> None:
    content = instance_to_json(replace(ALERT, value=math.nan))
    assert content["value"] is None
    assert math.isnan(instance_from_json(content).value)


def test_a_message_survives_strict_json() -> None:
    assert message_from_json(json.loads(json.dumps(message_to_json(MESSAGE), allow_nan=False))) == MESSAGE
    bare = replace(MESSAGE, sent_at=None)
    assert message_from_json(message_to_json(bare)) == bare


def test_a_message_has_a_line_for_listings() -> None:
    assert message_to_json(MESSAGE)["summary"] == "FIRING: alerts chat (1 firing, 1 resolved)"


def test_a_card_counts_what_it_does_not_list() -> None:
    card = render(replace(MESSAGE, firing=(ALERT,) * (SHOWN + 2), resolved=()))
    assert (len(card.lines), card.more) == (SHOWN, 2)
    assert ("Firing", "12") in card.fields


def test_a_card_without_summaries_shows_values_and_says_what_is_simulated() -> None:
    simulated = replace(ALERT, annotations=(), labels=(("alertname", "A"), ("simulated", "true")))
    card = render(replace(MESSAGE, firing=(simulated,), resolved=(), console_url=""))
    assert card.lines == ("A: value 1.25",)
    assert card.footer == "simulated · message 2 · k/7/2"
    assert card.text.endswith("(1 firing, simulated): A: value 1.25")
    assert card.links == ()


def test_a_runbook_that_is_no_address_is_no_button() -> None:
    local = replace(ALERT, annotations=(("runbook_url", "docs/runbooks/A.md"),))
    assert [link.text for link in render(replace(MESSAGE, firing=(local,), resolved=())).links] == ["Console"]


NOTICE = replace(
    MESSAGE,
    status="notice",
    firing=(),
    resolved=(),
    notice=Notice("v2 of chat failed", "It broke.", "warning", "v1 -> v2"),
)


def test_a_notice_survives_strict_json_and_is_drawn_as_news() -> None:
    content = json.loads(json.dumps(message_to_json(NOTICE), allow_nan=False))
    assert message_from_json(content) == NOTICE
    assert content["summary"] == "v2 of chat failed"
    card = render(NOTICE)
    assert (card.title, card.severity, card.text) == ("v2 of chat failed", "warning", "v2 of chat failed: It broke.")
    assert card.fields == (("Model", "chat"), ("Switch", "v1 -> v2"))
    assert [link.url for link in card.links] == ["http://c"]


def test_buttons_and_edits_survive_strict_json() -> None:
    button = Button("Roll back", "rollout.back", "r-1", "danger", "Send every request to v1 again?")
    message = replace(NOTICE, buttons=(button, Button("Details", "rollout.details", "r-1")), edit=True)
    content = json.loads(json.dumps(message_to_json(message), allow_nan=False))
    assert message_from_json(content) == message
    assert render(message).buttons == message.buttons
    assert render(message).footer == "edited · k/7/2"
    content["buttons"][0]["value"] = 7
    with pytest.raises(NotReadable, match="value"):
        message_from_json(content)


def test_what_the_release_before_buttons_queued_is_no_edit() -> None:
    content = {k: v for k, v in message_to_json(NOTICE).items() if k not in ("buttons", "edit")} | {"format": 1}
    assert message_from_json(content) == NOTICE


def test_what_an_earlier_release_queued_has_no_notice() -> None:
    content = message_to_json(MESSAGE)
    del content["notice"]
    assert message_from_json(content) == MESSAGE


def test_what_an_earlier_version_wrote_is_read() -> None:
    content = instance_to_json(ALERT)
    del content["unknown_since"], content["away"], content["format"]
    assert instance_from_json(content) == ALERT


ESCALATED = replace(MESSAGE, escalated=Escalated(2, 3, 2700.0, (Above("ops{}", 7),)))


def test_an_escalation_survives_strict_json_and_is_the_first_thing_that_a_card_says() -> None:
    content = json.loads(json.dumps(message_to_json(ESCALATED), allow_nan=False))
    assert message_from_json(content) == ESCALATED
    called = replace(ESCALATED, on_call=OnCall("primary", ("ann", "bo")))
    assert message_from_json(json.loads(json.dumps(message_to_json(called)))) == called
    assert ("On call", "ann, bo") in render(called).fields
    assert ("值班", "primary 无人值班") in render(replace(called, on_call=OnCall("primary", ())), CHINESE).fields
    card = render(ESCALATED)
    assert card.fields[0] == ("Escalation", "step 2 of 3: nobody had acknowledged it after 45m")
    assert card.text.endswith(" (step 2 of 3: nobody had acknowledged it after 45m)")
    chinese = render(ESCALATED, CHINESE)
    assert chinese.fields[0] == ("升级", "第 2 步（共 3 步）：45m 内无人确认")
    content["escalated"]["step"] = "two"
    with pytest.raises(NotReadable, match="step"):
        message_from_json(content)


def test_what_the_release_before_told_escalations_queued_is_none() -> None:
    content = {k: v for k, v in message_to_json(MESSAGE).items() if k not in ("escalated", "on_call")} | {"format": 3}
    assert message_from_json(content) == MESSAGE
