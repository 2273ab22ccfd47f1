"""Messages with texts of one's own, and what stays the control plane's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.errors import TemplateError
from alerts.interfaces import Mark, Message, MessageRef, Notifier
from alerts.notify.email import EmailNotifier, MailServer
from alerts.notify.email_message import Envelope
from alerts.notify.own_texts import OwnTexted
from alerts.notify.slack.notifier import SlackNotifier
from alerts.texts.functions import functions
from alerts.texts.templates import OwnText, OwnTexts, TemplateSet
from controlplane.app.notifying.recipes import recipe_of
from controlplane.config.notifications.alertmanager import read_receivers
from tests.contract.notifiers.messages import ATTACK, FIRING, HOSTILE, HUGE, NOTICE, OVER, STORM
from tests.fakes.mail_server import mail_server
from tests.fakes.receiver import receiving
from tests.fakes.slack import TOKEN, FakeSlack, running

TITLE = OwnText("title", "[{{ .Status | toUpper }}] {{ .GroupLabels.alertname }}")
TEXT = OwnText(
    "text", "<!here> {{ range .Alerts }}*{{ .Labels.model }}*\n{{ .Annotations.summary }}{{ end }}", "mrkdwn"
)


def texted(inner: Notifier, *texts: OwnText) -> OwnTexted:
    return OwnTexted(inner, OwnTexts(TemplateSet(), "ops", texts), now=lambda: 1_700_000_120.0)


def rendered(template: str, message: Message = FIRING, markup: str = "mrkdwn") -> str:
    own = OwnTexts(TemplateSet(), "ops", (OwnText("text", template, markup),))
    return own.rendered(message, 1_700_000_120.25)["text"]


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with running() as server:
        yield server


@pytest.fixture
async def inner(slack: FakeSlack) -> AsyncIterator[SlackNotifier]:
    own = SlackNotifier("ops", "#ops", lambda: TOKEN, base_url=slack.url, chart=False)
    yield own
    await own.close()


def sections(message: dict[str, Any]) -> list[str]:
    return [block["text"]["text"] for block in message["blocks"] if block["type"] == "section" and "text" in block]


async def test_slack_shows_them_in_the_place_of_fields_and_lines(slack: FakeSlack, inner: SlackNotifier) -> None:
    fallback = OwnText("fallback", "{{ .CommonLabels.model }} is <!here>", "mrkdwn")
    marked = replace(FIRING, marks=(Mark(FIRING.firing[0].fingerprint, "acknowledged by ann"),))
    await texted(inner, TITLE, TEXT, OwnText("pretext", "*before*", "mrkdwn"), fallback).send(marked, None)
    (message,) = slack.messages
    assert message["text"] == "chat is <!here>"
    assert message["blocks"][0]["text"]["text"] == ":red_circle: [FIRING] LLMErrorRateHigh"
    assert sections(message) == [
        "*before*",
        "<!here> *chat*\n5% of requests to chat fail",
        "• 5% of requests to chat fail (acknowledged by ann)",
    ]
    assert [block["type"] for block in message["blocks"]][-2:] == ["actions", "context"]


async def test_a_title_alone_leaves_our_lines(slack: FakeSlack, inner: SlackNotifier) -> None:
    await texted(inner, TITLE).send(FIRING, None)
    (message,) = slack.messages
    assert message["text"] == "[FIRING] LLMErrorRateHigh"
    assert sections(message) == ["• 5% of requests to chat fail"]
    assert len(next(block["fields"] for block in message["blocks"] if "fields" in block)) > 2


async def test_a_refused_form_is_sent_as_plain_text_with_them(slack: FakeSlack, inner: SlackNotifier) -> None:
    slack.refuses_blocks = "invalid_blocks"
    ref = await texted(inner, TITLE, TEXT).send(FIRING, None)
    assert ref is not None and ref.note.startswith("sent as plain text")
    lines = slack.messages[0]["text"].splitlines()
    assert lines[:3] == ["[FIRING] LLMErrorRateHigh", "<!here> *chat*", "5% of requests to chat fail"]


@pytest.mark.parametrize("message", [NOTICE, STORM, OVER], ids=["notice", "storm", "storm without alerts"])
async def test_messages_that_templates_do_not_know_are_ours(
    message: Message, slack: FakeSlack, inner: SlackNotifier
) -> None:
    await texted(inner, TITLE, TEXT).send(message, None)
    await inner.send(replace(message, sequence=9), None)
    own, ours = slack.messages
    assert own["text"] == ours["text"] and "<!here>" not in str(own)


async def test_a_template_that_fails_sends_our_message_with_the_reason(slack: FakeSlack, inner: SlackNotifier) -> None:
    ref = await texted(inner, OwnText("text", "{{ .Alerts.Nope }}", "mrkdwn")).send(FIRING, None)
    assert ref is not None and ref.note == (
        "sent without its own texts: text: {{ .Alerts.Nope }}: there is no .Nope in a template.Alerts"
    )
    assert slack.messages[0]["text"].startswith("FIRING: LLMErrorRateHigh chat")
    ref = await texted(inner, OwnText("text", '{{ template "gone" . }}', "mrkdwn")).send(
        replace(FIRING, sequence=2), ref
    )
    assert ref is not None and 'the template "gone" is not defined' in ref.note


async def test_texts_of_any_length_are_delivered(slack: FakeSlack, inner: SlackNotifier) -> None:
    long = OwnText(
        "text", "{{ range .Alerts }}{{ .Labels.version }} is lost, and much more than that\n{{ end }}", "mrkdwn"
    )
    await texted(inner, OwnText("title", "{{ .GroupLabels.model }}"), long).send(HUGE, None)
    (message,) = slack.messages
    assert all(len(part) <= 3000 for part in sections(message)) and len(sections(message)) > 1
    endless = OwnText("text", "{{ range .Alerts }}{{ .Labels.model }}{{ end }}", "mrkdwn")
    ref = await texted(inner, endless).send(replace(HUGE, sequence=2), None)
    assert ref is not None and "the text is longer than 65,536 characters" in ref.note


async def test_all_texts_of_a_message_share_its_steps(slack: FakeSlack, inner: SlackNotifier) -> None:
    loops = "{{ range 400 }}{{ range 100 }}{{ end }}{{ end }}"
    few, many = ([OwnText(f"fields.{n}.title", f"t{n}{loops}") for n in range(count)] for count in (3, 9))
    ref = await texted(inner, *few).send(FIRING, None)
    assert ref is not None and ref.note == ""
    ref = await texted(inner, *many).send(replace(FIRING, sequence=2), ref)
    assert ref is not None and ref.note.startswith("sent without its own texts: fields.7.title: ")
    assert ref.note.endswith("the template takes more than 300,000 steps")


@pytest.mark.parametrize(
    "template",
    [
        "{{ .CommonLabels.model }}",
        "{{ .CommonLabels }}",
        "{{ .CommonLabels.SortedPairs }}",
        "{{ .CommonLabels.Values }}",
        "{{ .Alerts }}",
        "{{ (index .Alerts 0).Labels }}",
        '{{ .CommonLabels.Values | join "," }}',
        '{{ printf "%s" .CommonLabels.model }}{{ print .CommonLabels }}{{ println .CommonLabels.Values }}',
        "{{ .CommonLabels.model | toUpper }}{{ .CommonLabels.model | title }}{{ slice .CommonLabels.model 0 90 }}",
        "{{ .CommonLabels.model | safeHtml }}{{ trimSpace .CommonLabels.model }}",
        '{{ reReplaceAll "x" "y" .CommonLabels.model }}{{ reReplaceAll "x" .CommonLabels.model "x" }}',
        "{{ with .CommonLabels.model }}{{ . }}{{ end }}{{ $x := .CommonLabels.model }}{{ $x }}",
        '{{ index .CommonLabels "model" }}{{ or "" .CommonLabels.model }}{{ and "a" .CommonLabels.model }}',
        "{{ range $k, $v := .CommonLabels }}{{ $v }}{{ end }}",
        "{{ range stringSlice .CommonLabels.model }}{{ . }}{{ end }}",
        '{{ define "t" }}{{ . }}{{ end }}{{ template "t" .CommonLabels.model }}',
        "{{ .CommonLabels.model | html }}{{ .CommonLabels.model | urlquery }}{{ .CommonLabels.model | js }}",
    ],
)
def test_markup_in_labels_does_not_act_however_it_is_printed(template: str) -> None:
    text = rendered("<!here>" + template, ATTACK)
    assert HOSTILE.count("<") == 3 and text.startswith("<!here>")
    assert "<" not in text.removeprefix("<!here>") and ">" not in text.removeprefix("<!here>")


def test_markup_of_the_template_acts_around_texts_of_alerts() -> None:
    text = rendered('{{ printf "<https://x.example|%s>" .CommonLabels.model }}', ATTACK)
    assert text.startswith("<https://x.example|chat") and text.endswith(">") and text.count("<") == 1


PAGED = """\
route: {receiver: pager}
receivers:
  - name: pager
    pagerduty_configs:
      - {routing_key: 0123456789abcdef, url: "URL/v2/enqueue", description: "{{ .Status }} {{ .GroupLabels.model }}",
         severity: "{{ .CommonLabels.model | len }}{{ if true }}{{ end }}", details: {who: "{{ .Receiver }}"}}
      - {routing_key: 0123456789abcdef, url: "URL/v2/enqueue", severity: "{{ print `WARNING` | toLower }}"}
    opsgenie_configs: [{api_key: k, api_url: "URL/", message: "{{ .Status }}!", description: "a\\nb {{ .Receiver }}"}]
    msteams_configs: [{webhook_url: "URL/teams", title: "T {{ .Status }}", text: "{{ .CommonAnnotations.summary }}",
                       summary: "S {{ .Receiver }}"}]
"""


async def test_pagers_and_teams_have_them(tmp_path: Path) -> None:
    async with receiving() as hook:
        (tmp_path / "am.yml").write_text(PAGED.replace("URL", hook.url))
        found = read_receivers(tmp_path / "am.yml")
        for section in found.sections["pager"]:
            notifier = recipe_of(section).made()
            await notifier.send(FIRING, None)
            await notifier.close()
    teams, genie, duty, other = (got.json for got in hook.taken)
    assert teams["summary"] == "S pager"
    body = teams["attachments"][0]["content"]["body"]
    assert [block["inlines"][0]["text"] for block in body[:2]] == ["T firing", "5% of requests to chat fail"]
    assert (genie["message"], genie["description"]) == ("firing!", "a\nb pager")
    assert (duty["payload"]["summary"], duty["payload"]["severity"]) == ("firing chat", "critical"), "4 is no severity"
    assert duty["payload"]["custom_details"]["who"] == "pager"
    assert other["payload"]["severity"] == "warning"
    assert found.notes == ()


FUNCTIONS = """
toUpper toLower title trimSpace join match safeHtml safeUrl urlUnescape reReplaceAll stringSlice date tz since
humanizeDuration toJson
"""


def test_functions_of_newer_alertmanagers() -> None:
    assert set(FUNCTIONS.split()) <= set(functions(lambda: 0.0)), "those of Alertmanager 0.25 to 0.28"
    assert rendered('{{ trimSpace " a " }}{{ (index .Alerts 0).StartsAt | date "15:04" }}') == "a22:14"
    assert rendered('{{ (index .Alerts 0).StartsAt | tz "UTC" | date "MST" }}') == "UTC"
    assert rendered("{{ since (index .Alerts 0).StartsAt | humanizeDuration }}") == "1m 0s"
    assert rendered('{{ urlUnescape "a%20b" }} {{ toJson .GroupLabels }}') == (
        'a b {"alertname":"LLMErrorRateHigh","model":"chat"}'
    )
    assert '"startsAt":"2023-11-14T22:14:20.25Z"' in rendered("{{ toJson .Alerts }}")
    assert "<" not in rendered("{{ toJson . }}{{ urlUnescape .CommonLabels.model }}", ATTACK)
    with pytest.raises(TemplateError, match="Remove takes 1 argument, got 0"):
        rendered("{{ .CommonLabels.Remove }}")
    assert rendered('<a href="{{ "javascript:x" }}">{{ safeHtml "<b>" }}{{ "<i>" }}', markup="html") == (
        '<a href="#ZgotmplZ"><b>&lt;i&gt;'
    )


START = "(index .Alerts 0).StartsAt"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('| tz "Asia/Shanghai" | date "2006-01-02 15:04:05 -0700 MST"', "2023-11-15 06:14:20 +0800 CST"),
        ('| tz "Europe/Paris"', "2023-11-14 23:14:20.25 +0100 CET"),
        ('| tz "America/St_Johns" | date "02 15:04 Z07:00 -07:00 Z0700"', "14 18:44 -03:30 -03:30 -0330"),
        ('| tz "Asia/Kolkata" | date "Monday 15h MST"', "Wednesday 03h IST"),
        ('| tz "America/Sao_Paulo" | date "MST"', "-03"),
        ('| tz "" | date "MST Z07:00 Z07"', "UTC Z Z"),
        ('| tz "Asia/Shanghai" | toJson', '"2023-11-15T06:14:20.25+08:00"'),
        ('| tz "Europe/Paris" | date "15" | printf "%s h"', "23 h"),
    ],
)
def test_times_are_shown_in_every_zone(template: str, text: str) -> None:
    assert rendered(f"{{{{ {START} {template} }}}}") == text


def test_times_in_a_zone_are_the_same_times() -> None:
    assert rendered(f'{{{{ ({START} | tz "Asia/Shanghai").Unix }}}}|{{{{ {START}.Unix }}}}') == "1700000060|1700000060"
    assert (
        rendered(f'{{{{ ({START} | tz "Asia/Shanghai").Hour }}}} {{{{ ({START} | tz "Asia/Tokyo").UTC.Hour }}}}')
        == "6 22"
    )
    assert rendered(f'{{{{ ({START}.Add 28800e9).Format "02 15:04 MST" }}}} {{{{ ({START}.Add 1).Sub {START} }}}}') == (
        "15 06:14 UTC 1ns"
    )
    assert rendered(f"{{{{ {START}.Before {START} }}}} {{{{ (index .Alerts 0).EndsAt.IsZero }}}}") == "false true"
    for zone in ("Mars/Base", "../etc/passwd", "Asia"):
        with pytest.raises(TemplateError, match=f"'{zone}' is no time zone; expected a name such as Asia/Shanghai"):
            rendered(f'{{{{ {START} | tz "{zone}" }}}}')
    with pytest.raises(TemplateError, match="a time is outside of the years 1 to 9999"):
        rendered('{{ (index .Alerts 0).EndsAt | tz "America/New_York" }}')
    with pytest.raises(TemplateError, match="Add takes a duration or nanoseconds, got the text 'a day'"):
        rendered(f'{{{{ {START}.Add "a day" }}}}')


async def test_an_email_has_them(caplog: pytest.LogCaptureFixture) -> None:
    async with mail_server() as server:
        place = MailServer("127.0.0.1", server.port, "none")
        inner = EmailNotifier("mail", place, Envelope("a@b.example", ("c@d.example",)))
        text = OwnText("text", "{{ .CommonAnnotations.summary }}\n{{ .Status }}")
        ref = await texted(inner, TITLE, text).send(FIRING, None)
        assert ref is not None and ref != MessageRef("") and ref.note == ""
        (mail,) = server.mails
        assert mail["Subject"] == "[FIRING] LLMErrorRateHigh"
        plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert plain is not None and html is not None
        assert plain.get_content().splitlines() == ["5% of requests to chat fail", "firing"]
        assert "5% of requests to chat fail<br>firing" in html.get_content()
        over = replace(FIRING, sequence=2, undelivered="pager could not deliver it")
        await texted(inner, OwnText("html", "<p>{{ .Status }}</p></body>", "html"), text).send(over, ref)
        html = server.mails[1].get_body(("html",))
        assert html is not None
        assert html.get_content().strip() == "<p>firing</p><p>Sent here because: pager could not deliver it</p></body>"
