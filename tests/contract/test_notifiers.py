"""One suite that every notifier passes, then what only Slack can get wrong, against a server that speaks its wire."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from alerts.errors import DeliveryFailed
from alerts.interfaces import Above, AlertInstance, AlertState, Button, Escalated, MessageRef, Notice, Notifier, OnCall
from alerts.notify.log import LogNotifier
from alerts.notify.slack.notifier import SlackNotifier
from tests.contract.notifiers import messages
from tests.contract.notifiers.http_faults import patience
from tests.fakes.slack import CHANNEL, TOKEN, FakeSlack, running


def alert(model: str, state: AlertState = AlertState.FIRING, **labels: str) -> AlertInstance:
    made = messages.alert(model, state, **labels)
    texts = dict(made.annotations) | {"summary": f"5% of requests to {model} <b>fail</b> & more"}
    return replace(made, annotations=tuple(texts.items()), fired_at=1_700_000_060.0)


FIRING = replace(messages.FIRING, firing=(alert("chat"),), sent_at=None)
RESOLVED = replace(FIRING, status="resolved", firing=(), resolved=(alert("chat", AlertState.INACTIVE),), sequence=2)


@dataclass
class Place:
    """A notifier, and what arrived where it sends to: (text, message id)."""

    notifier: Notifier
    slack: FakeSlack | None
    log: pytest.LogCaptureFixture

    def arrived(self) -> list[tuple[str, str]]:
        if self.slack is None:
            return [(r.getMessage(), r.__dict__["message_id"]) for r in self.log.records]
        return [(m["text"], m["metadata"]["event_payload"]["id"]) for m in self.slack.messages]


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with running() as server:
        yield server


@pytest.fixture
async def notifier(slack: FakeSlack, request: pytest.FixtureRequest) -> AsyncIterator[SlackNotifier]:
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    deadline_s = patience(params.get("fault", ""))
    own = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url, timeout_s=deadline_s)
    yield own
    await own.close()


@pytest.fixture(params=["log", "slack"])
def place(
    request: pytest.FixtureRequest, slack: FakeSlack, notifier: SlackNotifier, caplog: pytest.LogCaptureFixture
) -> Place:
    caplog.set_level(logging.INFO, "alerts.notifications")
    if request.param == "log":
        return Place(LogNotifier("ops"), None, caplog)
    return Place(notifier, slack, caplog)


async def test_every_message_arrives_with_its_text_and_its_id(place: Place) -> None:
    root = await place.notifier.send(FIRING, None)
    first = place.arrived()
    await place.notifier.send(RESOLVED, root)
    assert [message_id for _, message_id in first] == [FIRING.id]
    assert first[0][0].startswith("FIRING: LLMErrorRateHigh chat (1 firing): 5% of requests to chat")
    text, message_id = place.arrived()[-1]
    assert message_id == RESOLVED.id
    assert text.startswith("RESOLVED: LLMErrorRateHigh chat (1 resolved)")


async def test_a_group_of_any_size_and_length_is_delivered(place: Place) -> None:
    many = tuple(alert("m" * 4000, version=f"v{n}") for n in range(60))
    huge = replace(FIRING, firing=many, group_labels=(("model", "m" * 4000),))
    await place.notifier.send(huge, None)
    assert len(place.arrived()) == 1


async def test_closing_twice_is_fine(place: Place) -> None:
    await place.notifier.send(FIRING, None)
    await place.notifier.close()
    await place.notifier.close()


async def test_the_log_line_says_how_bad_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "alerts.notifications")
    await LogNotifier("ops").send(FIRING, None)
    await LogNotifier("ops").send(RESOLVED, None)
    assert [r.levelname for r in caplog.records] == ["ERROR", "INFO"]
    assert caplog.records[0].__dict__["firing"] == [FIRING.firing[0].fingerprint]


async def test_slack_updates_one_message_and_tells_the_story_in_its_thread(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    root = await notifier.send(FIRING, None)
    assert root == MessageRef(f"{CHANNEL}/1700000000.000001")
    assert await notifier.send(RESOLVED, root) == root
    (message,) = slack.roots()
    assert message["blocks"][0]["text"]["text"] == ":large_green_circle: RESOLVED: LLMErrorRateHigh · chat"
    assert [m["metadata"]["event_payload"]["id"] for m in slack.thread(root.place.rpartition("/")[2])] == [RESOLVED.id]


async def test_an_overtaken_message_is_only_a_line_of_the_thread(slack: FakeSlack, notifier: SlackNotifier) -> None:
    root = await notifier.send(FIRING, None)
    slack.calls.clear()
    assert await notifier.send(replace(RESOLVED, overtaken=True), root) == root
    assert [method for method, _ in slack.calls] == ["chat.postMessage"]
    newest = replace(FIRING, sequence=3)
    await notifier.send(newest, root)
    (message,) = slack.roots()
    thread = slack.thread(message["ts"])
    assert message["metadata"]["event_payload"]["id"] == newest.id
    assert [line["metadata"]["event_payload"]["id"] for line in thread] == [RESOLVED.id, newest.id]


async def test_slack_gets_three_messages_at_once_and_then_one_a_second(slack: FakeSlack) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    notifier = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url, monotonic=lambda: 5.0, sleep=sleep)
    for generation in range(5):
        await notifier.send(replace(FIRING, generation=generation), None)
    await notifier.close()
    assert len(slack.roots()) == 5
    assert waited == [1.0, 2.0]


ESCALATED = replace(
    FIRING, group_key="ops^15m{}", escalated=Escalated(1, 2, 900.0, (Above(FIRING.group_key, FIRING.generation),))
)


async def test_slack_shows_an_escalation_to_the_same_channel_in_the_thread_and_in_the_channel(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    root = await notifier.send(FIRING, None)
    assert root is not None
    ref = await notifier.send(replace(ESCALATED, above=(root,)), None)
    assert ref == MessageRef(f"{CHANNEL}/1700000000.000001/1700000000.000002")
    (message,) = slack.roots()
    (reply,) = slack.thread(message["ts"])
    assert reply["reply_broadcast"] is True
    assert reply["blocks"][1]["fields"][0]["text"] == "*Escalation*\nstep 1 of 2: nobody had acknowledged it after 15m"

    assert await notifier.send(replace(ESCALATED, sequence=2, above=(root,)), ref) == ref
    assert [one["reply_broadcast"] for one in slack.thread(message["ts"])] == [True, True], "a repeat is seen again"
    over = replace(RESOLVED, group_key=ESCALATED.group_key, sequence=3)
    assert await notifier.send(over, ref) == ref
    assert len(slack.thread(message["ts"])) == 2, "the message above says the end in this thread"
    assert slack.thread(message["ts"])[0]["blocks"][0]["text"]["text"].startswith(":large_green_circle: RESOLVED")


async def test_slack_repeats_an_escalation_that_arrived_only_where_it_is_not(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    root = await notifier.send(FIRING, None)
    assert root is not None
    slack.misbehave("lost", "chat.postMessage")
    escalated = replace(ESCALATED, above=(root,))
    with pytest.raises(DeliveryFailed):
        await notifier.send(escalated, None)
    ref = await notifier.send(replace(escalated, repeat=True), None)
    assert ref == MessageRef(f"{CHANNEL}/1700000000.000001/1700000000.000002")
    assert len(slack.messages) == 2


@pytest.mark.parametrize("above", ["C0000000009/1700000000.000001", "<0@mail>", f"{CHANNEL}/1600000000.000009"])
async def test_slack_makes_an_escalation_a_message_of_its_own_where_the_group_has_none(
    slack: FakeSlack, notifier: SlackNotifier, above: str
) -> None:
    """The group's message is in another channel, is an e-mail, or was deleted."""
    slack.misbehave("thread_not_found" if above.startswith(CHANNEL) else "", "chat.postMessage")
    ref = await notifier.send(replace(ESCALATED, above=(MessageRef(above),)), None)
    (message,) = slack.roots()
    assert ref == MessageRef(f"{CHANNEL}/{message['ts']}")
    assert "reply_broadcast" not in message


async def test_slack_mentions_people_on_call_by_ids_of_the_configuration_alone(slack: FakeSlack) -> None:
    own = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url, people={"ann": "U0ANN"})
    called = OnCall("primary", ("ann", "<@U0EVE>", "<!channel>"))
    try:
        root = await own.send(replace(FIRING, on_call=called), None)
        assert slack.messages[0]["blocks"][1]["text"]["text"] == "<@U0ANN> on call"
        await own.send(replace(FIRING, on_call=called, sequence=2), root)
        await own.send(replace(RESOLVED, on_call=called, sequence=3), root)
        slack.refuses_blocks = "invalid_blocks"
        await own.send(replace(FIRING, generation=8, on_call=called), None)
    finally:
        await own.close()
    first, news, over, plain = slack.messages
    assert first["text"].startswith("RESOLVED"), "the end mentions nobody"
    assert news["text"].startswith("<@U0ANN> FIRING: ")
    assert over["text"].startswith("RESOLVED")
    assert plain["text"].startswith("<@U0ANN> FIRING: ")
    assert "On call: ann, &lt;@U0EVE&gt;, &lt;!channel&gt;" in plain["text"]


async def test_slack_blocks_carry_fields_lines_and_buttons(slack: FakeSlack, notifier: SlackNotifier) -> None:
    await notifier.send(FIRING, None)
    header, fields, lines, actions, context = slack.messages[0]["blocks"]
    assert header["text"]["text"] == ":red_circle: FIRING: LLMErrorRateHigh · chat"
    assert [f["text"] for f in fields["fields"]] == [
        "*Model*\nchat",
        "*Severity*\ncritical",
        "*Since*\n2023-11-14 22:14:20 UTC",
        "*Firing*\n1",
    ]
    assert lines["text"]["text"] == "• 5% of requests to chat &lt;b&gt;fail&lt;/b&gt; &amp; more"
    assert [(b["text"]["text"], b["url"]) for b in actions["elements"]] == [
        ("Console", "http://console.example/alerts"),
        ("Runbook", "https://runbooks.example/LLMErrorRateHigh.md"),
    ]
    assert FIRING.id in context["elements"][0]["text"]


async def test_what_is_over_is_told_in_the_past_and_its_news_is_not_struck_out(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    gone = replace(alert("chat", AlertState.INACTIVE), fired_at=1_700_000_000.0, resolved_at=1_700_000_094.3)
    labels = (*gone.labels, ("gpu", "GPU-51"), ("node", "n1"))
    await notifier.send(replace(RESOLVED, resolved=(replace(gone, labels=labels),)), None)
    _, fields, lines, *_ = slack.messages[0]["blocks"]
    told = [f["text"].replace("\n", " ") for f in fields["fields"]]
    assert told == [
        "*Model* chat",
        "*Node* n1",
        "*GPU* GPU-51",
        "*Severity* critical",
        "*Fired* 2023-11-14 22:13:20 UTC",
        "*Resolved* 1",
    ]
    assert lines["text"]["text"].startswith("• ended at 2023-11-14 22:14:54 UTC, after firing for 1m 34s (was: ")
    assert not lines["text"]["text"].endswith("~")


async def test_a_label_writes_no_line_and_no_mention_of_its_own_into_slack(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    hostile = "chat\n• ~all is well~ <!channel>\u202e\x1b[0m"
    message = replace(FIRING, group_labels=(("alertname", hostile),), firing=(alert(hostile),))
    await notifier.send(message, None)
    posted = slack.messages[0]
    header, fields, lines, _, context = posted["blocks"]
    shown = r"chat • ~all is well~ &lt;!channel&gt;\u202e\x1b[0m"
    assert header["text"]["text"] == r":red_circle: FIRING: chat • ~all is well~ <!channel>\u202e\x1b[0m"
    assert fields["fields"][0]["text"] == f"*Model*\n{shown}"
    assert lines["text"]["text"] == f"• 5% of requests to {shown} &lt;b&gt;fail&lt;/b&gt; &amp; more"
    assert all("\n" not in text and "<!" not in text for text in (posted["text"], context["elements"][0]["text"]))


async def test_slack_posts_anew_when_its_message_was_deleted(slack: FakeSlack, notifier: SlackNotifier) -> None:
    root = await notifier.send(replace(RESOLVED), MessageRef(f"{CHANNEL}/1600000000.000009"))
    assert root == MessageRef(f"{CHANNEL}/1700000000.000001")
    assert len(slack.roots()) == 1


@pytest.mark.parametrize("place", ["<0123@example.org>", "0123456789abcdef", "somewhere"])
async def test_a_place_of_another_kind_of_notifier_is_no_message_of_slack(
    slack: FakeSlack, notifier: SlackNotifier, place: str
) -> None:
    """A notifier may keep its name and change its kind while its groups are open."""
    root = await notifier.send(RESOLVED, MessageRef(place))
    assert root == MessageRef(f"{CHANNEL}/1700000000.000001")
    assert [method for method, _ in slack.calls] == ["chat.postMessage"]


@pytest.mark.parametrize("fault", ["500", "502-text", "garbage", "text", "internal_error", "hang", "lost"])
async def test_slack_trouble_is_worth_another_try(slack: FakeSlack, notifier: SlackNotifier, fault: str) -> None:
    slack.misbehave(fault)
    with pytest.raises(DeliveryFailed) as failed:
        await notifier.send(FIRING, None)
    assert not failed.value.permanent
    assert failed.value.retry_after is None
    await notifier.send(replace(FIRING, repeat=True), None)
    assert len(slack.messages) == 1, "the repeat found what had been posted, or posted it once"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", "no answer within 1 s"),
        ("lost", "Server disconnected"),
        ("text", "the answer is not JSON"),
        ("garbage", "HTTP 200, not a JSON answer"),
    ],
)
async def test_slack_trouble_is_told_in_words(
    slack: FakeSlack, notifier: SlackNotifier, fault: str, words: str
) -> None:
    slack.misbehave(fault)
    with pytest.raises(DeliveryFailed) as failed:
        await notifier.send(FIRING, None)
    assert str(failed.value) == f"Slack chat.postMessage: {words}"


async def test_slack_says_how_long_to_wait(slack: FakeSlack, notifier: SlackNotifier) -> None:
    slack.misbehave("429:7")
    with pytest.raises(DeliveryFailed, match="asked to wait 7s") as failed:
        await notifier.send(FIRING, None)
    assert failed.value.retry_after == 7.0
    assert not failed.value.permanent


async def test_blocks_that_slack_refuses_are_said_in_plain_text(slack: FakeSlack, notifier: SlackNotifier) -> None:
    slack.refuses_blocks = "invalid_blocks"
    ref = await notifier.send(FIRING, None)
    assert ref is not None
    note = "sent as plain text: Slack chat.postMessage to #ops: invalid_blocks (must be more beautiful)"
    assert ref.note == note
    (posted,) = slack.messages
    assert posted["text"].splitlines()[0] == "FIRING: LLMErrorRateHigh · chat"
    assert posted["metadata"]["event_payload"]["id"] == FIRING.id
    assert not posted["blocks"]
    # The group's message is updated as ever, and a repeat finds it.
    again = await notifier.send(RESOLVED, ref)
    assert again == replace(ref, note=note.replace("postMessage", "update"))
    assert slack.roots()[0]["text"].startswith("RESOLVED: ")
    assert await notifier.send(replace(FIRING, repeat=True), None) is not None


async def test_plain_text_that_is_refused_too_is_final(slack: FakeSlack, notifier: SlackNotifier) -> None:
    slack.misbehave("invalid_blocks")
    slack.misbehave("is_archived")
    with pytest.raises(DeliveryFailed, match="name another") as failed:
        await notifier.send(FIRING, None)
    assert failed.value.permanent


async def test_metadata_that_is_refused_goes_too(slack: FakeSlack, notifier: SlackNotifier) -> None:
    slack.misbehave("metadata_too_large")
    await notifier.send(FIRING, None)
    assert "metadata" not in slack.messages[0]


@pytest.mark.parametrize("wish", ["inf", "nan", "-5", "1e400", "soon", ""])
async def test_slack_asks_for_no_time_at_all(slack: FakeSlack, notifier: SlackNotifier, wish: str) -> None:
    slack.misbehave(f"429:{wish}")
    with pytest.raises(DeliveryFailed, match="without a valid Retry-After") as failed:
        await notifier.send(FIRING, None)
    assert failed.value.retry_after is None
    assert not failed.value.permanent


async def test_slack_asks_to_wait_until_a_date(slack: FakeSlack) -> None:
    notifier = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url, now=lambda: 1_700_000_000.0)
    slack.misbehave("429:Tue, 14 Nov 2023 22:14:00 GMT")
    with pytest.raises(DeliveryFailed, match="asked to wait 40s") as failed:
        await notifier.send(FIRING, None)
    assert failed.value.retry_after == 40.0
    await notifier.close()


@pytest.mark.parametrize(
    ("fault", "cure"), [("invalid_auth", "set a current bot token"), ("is_archived", "name another"), ("odd_new", "")]
)
async def test_slack_refusals_are_final_and_name_the_cure(
    slack: FakeSlack, notifier: SlackNotifier, fault: str, cure: str
) -> None:
    slack.misbehave(fault)
    with pytest.raises(DeliveryFailed, match=fault) as failed:
        await notifier.send(FIRING, None)
    assert failed.value.permanent
    assert cure in str(failed.value)


async def test_slack_refuses_a_wrong_token_without_showing_it(
    slack: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = SlackNotifier("ops", "#ops", lambda: "xoxb-secret-wrong", base_url=slack.url)
    with pytest.raises(DeliveryFailed, match="invalid_auth") as failed:
        await wrong.send(FIRING, None)
    await wrong.close()
    assert "xoxb-secret-wrong" not in str(failed.value) + caplog.text + repr(wrong)


async def test_slack_refuses_an_unknown_channel(slack: FakeSlack) -> None:
    lost = SlackNotifier("ops", "#nowhere", lambda: TOKEN, base_url=slack.url)
    with pytest.raises(DeliveryFailed, match=r"channel_not_found.*invite the bot"):
        await lost.send(FIRING, None)
    await lost.close()


async def test_slack_token_is_asked_at_every_send(slack: FakeSlack) -> None:
    tokens = iter(["xoxb-old", TOKEN])
    rotated = SlackNotifier("ops", "#ops", lambda: next(tokens), base_url=slack.url)
    with pytest.raises(DeliveryFailed, match="invalid_auth"):
        await rotated.send(FIRING, None)
    assert await rotated.send(FIRING, None) is not None
    await rotated.close()


async def test_slack_unreachable_is_worth_another_try() -> None:
    away = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url="http://127.0.0.1:9/api/")
    with pytest.raises(DeliveryFailed) as failed:
        await away.send(FIRING, None)
    await away.close()
    assert not failed.value.permanent


async def test_slack_repeat_does_not_repeat_a_thread_line(slack: FakeSlack, notifier: SlackNotifier) -> None:
    root = await notifier.send(FIRING, None)
    assert root is not None
    slack.misbehave("lost", "chat.postMessage")
    with pytest.raises(DeliveryFailed):
        await notifier.send(RESOLVED, root)
    await notifier.send(replace(RESOLVED, repeat=True), root)
    assert len(slack.thread(root.place.rpartition("/")[2])) == 1


async def test_slack_repeat_says_the_thread_line_that_was_lost(slack: FakeSlack, notifier: SlackNotifier) -> None:
    root = await notifier.send(FIRING, None)
    assert root is not None
    slack.misbehave("500", "chat.postMessage")
    with pytest.raises(DeliveryFailed):
        await notifier.send(RESOLVED, root)
    await notifier.send(replace(RESOLVED, repeat=True), root)
    assert len(slack.thread(root.place.rpartition("/")[2])) == 1


async def test_slack_without_the_scope_to_look_posts_twice_rather_than_never(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    slack.misbehave("missing_scope", "conversations.history")
    await notifier.send(replace(FIRING, repeat=True), None)
    assert len(slack.roots()) == 1


async def test_slack_finds_a_repeat_by_the_channels_id_when_a_name_was_given(slack: FakeSlack) -> None:
    before, after = (SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url) for _ in range(2))
    root = await before.send(FIRING, None)
    assert await after.send(replace(FIRING, repeat=True), None) == root
    assert len(slack.messages) == 1
    assert [method for method, _ in slack.calls[1:]] == ["conversations.list"] * 2 + ["conversations.history"]
    await before.close()
    await after.close()


async def test_slack_takes_a_channels_id_as_it_is(slack: FakeSlack) -> None:
    by_id = SlackNotifier("ops", CHANNEL, lambda: TOKEN, base_url=slack.url)
    assert await by_id.send(replace(FIRING, repeat=True), None) is not None
    assert [method for method, _ in slack.calls] == ["conversations.history", "chat.postMessage"]
    await by_id.close()


async def test_a_notice_arrives_as_what_it_is(place: Place) -> None:
    notice = replace(FIRING, status="notice", firing=(), notice=Notice("chat is on v2", "v2 serves.", "info"))
    await place.notifier.send(notice, None)
    assert place.arrived() == [("chat is on v2: v2 serves.", notice.id)]


async def test_a_notice_is_as_bad_as_it_says(
    slack: FakeSlack, notifier: SlackNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alerts.notifications")
    for severity in ("info", "warning", "critical"):
        notice = replace(FIRING, status="notice", firing=(), notice=Notice("chat", "v2 failed.", severity))
        await LogNotifier("ops").send(notice, None)
        await notifier.send(notice, None)
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING", "ERROR"]
    titles = [m["blocks"][0]["text"]["text"] for m in slack.roots()]
    assert titles == [":large_blue_circle: chat", ":large_yellow_circle: chat", ":red_circle: chat"]


BUTTONS = (
    Button("Roll back", "rollout.back", "r-1", "danger", 400 * "Really? "),
    Button("Details", "rollout.details", "r-1"),
)
BEGUN = replace(
    FIRING, status="notice", firing=(), notice=Notice("Promotion of chat to v2 began", "It loads."), buttons=BUTTONS
)


async def test_an_edit_changes_a_message_and_is_no_news(
    slack: FakeSlack, notifier: SlackNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    root = await notifier.send(BEGUN, None)
    edit = replace(BEGUN, sequence=17, notice=Notice("Rollout of chat is done", "It serves."), buttons=(), edit=True)
    assert await notifier.send(edit, root) == root
    assert await notifier.send(replace(edit, repeat=True), root) == root
    (message,) = slack.messages
    assert "Rollout of chat is done" in message["blocks"][0]["text"]["text"]
    assert [e["action_id"] for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]] == ["Console"]
    slack.messages.clear()
    assert await notifier.send(edit, root) is None
    assert await notifier.send(edit, None) is None
    assert slack.messages == [], "an edit posts nothing"
    with caplog.at_level(logging.INFO):
        caplog.clear()
        assert await LogNotifier("log").send(edit, None) is None
    assert caplog.records == []


async def test_buttons_fit_slacks_limits_and_ask_before_they_act(slack: FakeSlack, notifier: SlackNotifier) -> None:
    await notifier.send(replace(BEGUN, buttons=(replace(BUTTONS[0], text=200 * "x"), BUTTONS[1])), None)
    elements = next(b["elements"] for b in slack.messages[0]["blocks"] if b["type"] == "actions")
    back, details = elements[:2]
    assert (back["action_id"], back["value"], back["style"]) == ("rollout.back", "r-1", "danger")
    assert [len(back["confirm"][part]["text"]) for part in ("title", "text", "confirm")] == [100, 300, 30]
    assert back["confirm"]["style"] == "danger"
    assert details == {
        "type": "button",
        "text": {"type": "plain_text", "text": "Details"},
        "action_id": "rollout.details",
        "value": "r-1",
    }


async def test_a_reply_about_a_rollout_is_shown_in_the_channel_and_one_about_alerts_is_not(
    slack: FakeSlack, notifier: SlackNotifier
) -> None:
    for first in (BEGUN, FIRING):
        root = await notifier.send(first, None)
        await notifier.send(replace(first, sequence=2), root)
    assert [m["reply_broadcast"] for m in slack.messages if "thread_ts" in m] == [True, False]
