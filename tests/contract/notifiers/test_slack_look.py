"""The look of Slack's messages by an `alertmanager.yml`: colour, sender, linked title, fields, buttons, pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.interfaces import Message, MessageRef, Notifier, OnCall
from alerts.notify.own_texts import OwnTexted
from alerts.notify.slack.notifier import UNNAMED, SlackNotifier
from alerts.texts.templates import OwnText, OwnTexts, TemplateSet
from controlplane.app.notifying.recipes import recipe_of
from controlplane.config.notifications.alertmanager import read_receivers
from tests.contract.notifiers.messages import ATTACK, FIRING, HOSTILE, HUGE, NOTICE, RESOLVED
from tests.fakes.receiver import receiving
from tests.fakes.slack import TOKEN, FakeSlack, all_blocks, running

CONFIG = """\
route: {receiver: ops}
receivers:
  - name: ops
    slack_configs:
      - api_url: API/chat.postMessage
        http_config: {authorization: {credentials: xoxb-right}}
        channel: "#ops"
        send_resolved: true
        color: '{{ if eq .Status "firing" }}danger{{ end }}'
        title: "{{ .GroupLabels.alertname }} & co"
        title_link: "https://wiki.example/{{ .CommonLabels.model }}?a=1&b=<2>"
        username: "alerts of {{ .CommonLabels.model }}"
        icon_emoji: ":fire:"
        icon_url: https://img.example/fire.png
        footer: "sent by <{{ .Receiver }}>"
        image_url: https://img.example/{{ .CommonLabels.model }}.png
        thumb_url: 'ftp://img.example/{{ .Status }}.png'
        short_fields: true
        fields:
          - {title: Model, value: "*{{ .CommonLabels.model }}*"}
          - {title: State, value: "{{ .Status }}"}
          - {title: Long, value: "{{ .CommonAnnotations.summary }}", short: false}
        actions:
          - {type: button, text: "Look at {{ .CommonLabels.model }}", url: "https://d/{{ .Status }}", style: primary}
          - {type: button, text: Nowhere, url: "javascript:{{ .Status }}"}
"""


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with running() as server:
        yield server


@pytest.fixture
async def notifier(slack: FakeSlack, tmp_path: Path) -> AsyncIterator[Notifier]:
    (tmp_path / "am.yml").write_text(CONFIG.replace("API/", slack.url))
    found = read_receivers(tmp_path / "am.yml")
    assert found.notes == ()
    made = recipe_of(found.sections["ops"][0]).made()
    yield made
    await made.close()


def kinds(blocks: list[dict[str, Any]]) -> list[str]:
    return [block["type"] for block in blocks]


async def test_a_message_looks_as_the_file_says(slack: FakeSlack, notifier: Notifier) -> None:
    await notifier.send(FIRING, None)
    (message,) = slack.messages
    link = "<https://wiki.example/chat?a=1&amp;b=%3C2%3E|LLMErrorRateHigh &amp; co>"
    assert message["text"] == f":red_circle: *{link}*", "Slack shows it above the bar of colour"
    assert (message["username"], message["icon_emoji"]) == ("alerts of chat", ":fire:")
    assert message["icon_url"] == "https://img.example/fire.png"
    assert message["blocks"] == []
    beside, picture = message["attachments"]
    assert (beside["color"], beside["fallback"]) == ("danger", "LLMErrorRateHigh &amp; co")
    short, long, lines, actions, context = beside["blocks"]
    assert [field["text"] for field in short["fields"]] == ["*Model*\n*chat*", "*State*\nfiring"]
    assert long["text"]["text"] == "*Long*\n5% of requests to chat fail"
    assert lines["text"]["text"] == "• 5% of requests to chat fail"
    assert [(one["text"]["text"], one["url"], one.get("style")) for one in actions["elements"]] == [
        ("Console", "http://console.example/alerts", None),
        ("Runbook", "https://runbooks.example/LLMErrorRateHigh.md", None),
        ("Look at chat", "https://d/firing", "primary"),
    ]
    assert [one["text"] for one in context["elements"]] == ["sent by &lt;ops&gt;", f"message 1 · {FIRING.id}"]
    assert picture == {"fallback": "LLMErrorRateHigh & co", "image_url": "https://img.example/chat.png"}


async def test_an_update_takes_the_colour_away_and_keeps_the_sender(slack: FakeSlack, notifier: Notifier) -> None:
    ref = await notifier.send(FIRING, None)
    await notifier.send(RESOLVED, ref)
    root, reply = slack.messages
    assert [one.get("color") for one in root["attachments"]] == [None], "the picture alone is left"
    assert kinds(root["blocks"])[:2] == ["section", "section"] and root["text"] == "LLMErrorRateHigh &amp; co"
    updates = [body for method, body in slack.calls if method == "chat.update"]
    assert not {"username", "icon_emoji"} & set(updates[0])
    assert reply["username"] == "alerts of chat"


async def test_without_the_scope_the_app_is_the_sender_and_a_note_says_so(slack: FakeSlack, notifier: Notifier) -> None:
    slack.can_customize = False
    ref = await notifier.send(FIRING, None)
    assert ref is not None and ref.note == UNNAMED
    assert "username" not in slack.messages[0] and slack.messages[0]["attachments"][0]["color"] == "danger"
    slack.refuses_blocks = "invalid_blocks"
    ref = await notifier.send(replace(FIRING, group_key="other"), None)
    assert ref is not None and ref.note.startswith("sent as plain text: ") and ref.note.endswith(f"; {UNNAMED}")
    lines = slack.messages[1]["text"].splitlines()
    assert lines[:4] == [
        "LLMErrorRateHigh &amp; co",
        "Model: *chat*",
        "State: firing",
        "Long: 5% of requests to chat fail",
    ]
    assert slack.messages[1]["attachments"] == []


async def test_own_messages_have_their_own_look(slack: FakeSlack, notifier: Notifier) -> None:
    await notifier.send(NOTICE, None)
    (message,) = slack.messages
    assert message["attachments"] == [] and "username" not in message and kinds(message["blocks"])[0] == "header"


async def sent(slack: FakeSlack, message: Message, texts: dict[str, str], **options: Any) -> MessageRef | None:
    inner = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url, chart=False, **options)
    own = tuple(OwnText(place, text) for place, text in texts.items())
    try:
        return await OwnTexted(inner, OwnTexts(TemplateSet(), "ops", own)).send(message, None)
    finally:
        await inner.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("good", "good"), ("#1A2b3c", "#1A2b3c"), ("1a2b3c", "#1a2b3c"), ("red", None), ("{{ .Receiver }}", None)],
)
async def test_only_colours_that_slack_knows_count(text: str, shown: str | None, slack: FakeSlack) -> None:
    await sent(slack, FIRING, {"color": text})
    attachments = slack.messages[0]["attachments"]
    assert [one["color"] for one in attachments] == ([shown] if shown else [])


async def test_people_on_call_are_mentioned_beside_a_colour(slack: FakeSlack) -> None:
    on_call = replace(FIRING, on_call=OnCall("primary", ("ann",)))
    await sent(slack, on_call, {"color": "good"}, people={"ann": "U0000000001"})
    assert slack.messages[0]["text"].startswith("<@U0000000001> :red_circle: *FIRING")
    assert "<@" not in str(slack.messages[0]["attachments"])


EVERYWHERE = "{{ range .Alerts }}{{ .Labels.model }}{{ end }}"
PLACES = ("color", "title", "username", "icon_emoji", "icon_url", "footer", "image_url", "title_link")
LISTS = [f"fields.{n}.{name}" for n in range(60) for name in (("title", "value") if n % 2 else ("title", "short"))]
LISTS += [f"actions.{n}.{name}" for n in range(5) for name in ("text", "style")]


@pytest.mark.parametrize("message", [ATTACK, replace(HUGE, firing=HUGE.firing[:10])], ids=["hostile", "long"])
async def test_labels_in_every_place_stay_text_and_within_the_limits(message: Message, slack: FakeSlack) -> None:
    texts = dict.fromkeys([*PLACES, *LISTS], EVERYWHERE)
    texts |= {f"actions.{n}.url": "https://d.example/" for n in range(5)} | {"color": "good"}
    texts |= {"title_link": "https://wiki.example/{{ (index .Alerts 0).Labels.alertname }}"}
    ref = await sent(slack, message, {**texts, **{f"fields.{n}.value": "v" for n in range(60)}})
    assert ref is not None and ref.note == "", "Slack took it as it was"
    (got,) = slack.messages
    assert len(all_blocks(got)) <= 50 and len(got["username"]) <= 80
    assert HOSTILE.count("<") == 3
    shown = str([block for block in all_blocks(got) if block["type"] in ("section", "context")]) + got["text"]
    assert "<!" not in shown and "<at" not in shown and "icon_emoji" not in got and "icon_url" not in got


async def test_an_incoming_webhook_gets_the_look(tmp_path: Path) -> None:
    async with receiving() as hook:
        config = CONFIG.replace("API/chat.postMessage", f"{hook.url}/hook")
        (tmp_path / "am.yml").write_text(config.replace("http_config: {authorization: {credentials: xoxb-right}}", ""))
        for message in (FIRING, RESOLVED):
            made = recipe_of(read_receivers(tmp_path / "am.yml").sections["ops"][0]).made()
            await made.send(message, None)
            await made.close()
    firing, resolved = (got.json for got in hook.taken)
    assert set(firing) == {"text", "attachments", "username", "icon_emoji", "icon_url"}, (
        "programs without blocks need text"
    )
    assert firing["text"].endswith("|LLMErrorRateHigh &amp; co>*") and firing["attachments"][0]["color"] == "danger"
    assert kinds(resolved["blocks"])[0] == "section" and len(resolved["attachments"]) == 1


def test_what_has_no_meaning_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "am.yml").write_text(
        """\
route: {receiver: a}
receivers:
  - name: a
    slack_configs:
      - api_url: https://hooks.slack.com/x
        link_names: true
        mrkdwn_in: [text]
        callback_id: x
        fields: [FIELDS]
        actions:
          - {type: button, text: Press, name: ack, value: "1"}
          - {type: button, text: Go, url: "https://d.example", confirm: {text: Really?}}
          - {type: button, text: Bad, url: "javascript:x"}
        title_link: javascript:y
      - {api_url: https://hooks.slack.com/y, link_names: false, short_fields: true}
""".replace("FIELDS", ", ".join(["{title: a, value: b, long: 1}"] + ["{title: a, value: b}"] * 20))
    )
    notes = sorted(
        (str(note).partition("yml:")[2] for note in read_receivers(tmp_path / "am.yml").notes),
        key=lambda note: int(note.partition(":")[0]),
    )
    path = "a: slack_configs[0]"
    assert notes == [
        f"6: {path}.link_names is not taken over: a name in a label would then mention people",
        f"7: {path}.mrkdwn_in is not taken over: text, pretext, fallback and the values of fields are mrkdwn, "
        "and nothing else is",
        f"8: {path}.callback_id is not taken over: no program reads it",
        f"9: {path}.fields[0].long is not taken over",
        f"9: {path}.fields: only the first 20 are taken over",
        f"11: {path}.actions[0] is not taken over: it has no url, and a click on it would reach nobody",
        f"12: {path}.actions[1].confirm is not taken over: a link has none",
        f"13: {path}.actions[2].url is not taken over: it is no http:// or https:// address",
        f"14: {path}.title_link is not taken over: it is no http:// or https:// address",
    ]
