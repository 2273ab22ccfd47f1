"""Texts of one's own beside Debian's Alertmanager: the same file, templates and alerts, the same texts."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.interfaces import AlertInstance, AlertState, Message
from alerts.texts.places import items
from alerts.texts.templates import OwnTexts
from collectors.samples import labels_of
from controlplane.app.notifying.recipes import recipe_of
from controlplane.config.notifications.alertmanager import read_receivers
from tests.contract.real_servers import alertmanager
from tests.fakes.mail_server import MailServer, mail_server
from tests.fakes.receiver import Receiver, receiving
from tests.patience import HANG_S, until

pytestmark = pytest.mark.needs("alertmanager")
HOSTILE = "<!channel> a<b & <https://evil.example|click> \"q\" 'r' +1"
TEMPLATES = """\
{{ define "team.lines" }}{{ range .Alerts.Firing }}*{{ .Labels.alertname }}* on {{ .Labels.node | toUpper }}
{{- if .Annotations.runbook_url }} <{{ .Annotations.runbook_url }}|runbook>{{ end }}
{{ end }}{{ end }}
{{ define "slack.default.text" }}replaced: {{ .CommonAnnotations.summary }}{{ end }}
"""
TEXTS = (
    '{{ template "slack.default.title" . }}',
    '{{ template "__subject" . }} {{ .Status | title }}',
    '<!here> {{ template "team.lines" . }}',
    '{{ template "slack.default.text" . }}',
    '{{ template "slack.default.fallback" . }}',
    '{{ template "__text_alert_list" .Alerts.Firing }}',
    '{{ template "opsgenie.default.description" . }}',
    '{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}{{ .CommonLabels.Names | join "," }}',
    '{{ (index .Alerts 0).StartsAt.Format "2006-01-02 15:04:05 MST" }} {{ (index .Alerts 0).Fingerprint }}',
    "{{ .GroupLabels.missing }}|{{ len .Alerts }}|{{ .Receiver }}|{{ with .CommonLabels.node }}{{ . }}{{ end }}",
    '{{ .CommonAnnotations.summary | reReplaceAll "of (.*) fail" "of <$1> are lost" }} {{ match "^5" "5%" }}',
    '{{ printf "<https://x.example/%s|%s>" .CommonLabels.alertname .CommonAnnotations.summary }}',
    '{{ join " - " (stringSlice "a" .CommonLabels.node "b<c") }}{{ .CommonLabels.node | len }}',
    "{{ $n := len .Alerts.Firing }}{{ if gt $n 1 }}many{{ else if eq $n 1 }}one{{ end }} {{ .Alerts.Resolved | len }}",
    '{{ (.CommonLabels.Remove (stringSlice "severity" "node")).Values | join " " }}',
    '{{ ((index .Alerts 0).StartsAt.Add 28800e9).Format "01-02 15:04 MST" }} {{ (index .Alerts 0).EndsAt.IsZero }}',
    "{{ with index .Alerts 0 }}{{ .StartsAt.Local.Format `2006-01-02T15:04:05Z07:00 -0700` }} {{ .StartsAt }}{{ end }}",
    "{{ with index .Alerts 0 }}{{ .StartsAt.Sub .StartsAt }} {{ .EndsAt.Sub .StartsAt }}{{ end }}",
    "{{ with index .Alerts 0 }}{{ .StartsAt.After .EndsAt }} {{ .StartsAt.Before .EndsAt }}{{ end }}",
    '{{- /* nothing */ -}}  a {{- 1 }} {{ 1.5 | printf "%.2f" }} {{ not true }} {{ .ExternalURL }}',
)


def instance(start: datetime, summary: str, name: str = "Lost", **labels: str) -> AlertInstance:
    every = labels_of({"alertname": name, "node": "n1", "severity": "critical", **labels})
    told = (("runbook_url", "https://runbooks.example/Lost.md"), ("summary", summary))
    at = start.timestamp()
    return AlertInstance(f"f;g;{name}", every, told, AlertState.FIRING, 1.0, at, fired_at=at)


async def post(url: str, alerts: tuple[AlertInstance, ...]) -> None:
    body = [
        {"labels": dict(one.labels), "annotations": dict(one.annotations), "startsAt": _time(one)} for one in alerts
    ]
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        (await client.post(f"{url}/api/v2/alerts", json=body)).raise_for_status()


def _time(alert: AlertInstance) -> str:
    return datetime.fromtimestamp(alert.active_at, UTC).isoformat()


def message(url: str, alerts: tuple[AlertInstance, ...]) -> Message:
    group = (("node", "n1"),)
    return Message("ops/x", "ops", "firing", group, alerts, (), 1, generation=1, console_url=url)


@dataclass
class Both:
    """Receivers of both, and the configuration."""

    slack: Receiver
    mail: MailServer
    folder: Path
    start: datetime
    """Start of the alerts. One that is past would let Alertmanager send the group before both have come in."""

    def config(self, entries: str) -> str:
        (self.folder / "team.tmpl").write_text(TEMPLATES)
        return f"""\
global: {{smtp_smarthost: "127.0.0.1:{self.mail.port}", smtp_from: am@example.org, smtp_require_tls: false}}
templates: ["*.tmpl"]
route: {{receiver: ops.team, group_by: [node], group_wait: 1s}}
receivers:
  - name: ops.team
{entries}"""


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    async with receiving() as slack, mail_server() as mail:
        yield Both(slack, mail, tmp_path, datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("summary", ["5% of requests fail", HOSTILE], ids=["plain", "hostile"])
async def test_slack_gets_the_same_texts(summary: str, both: Both) -> None:
    entries = "".join(
        f"      - {{api_url: '{both.slack.url}/{number}', title: t{number}, text: {quoted(text)}}}\n"
        for number, text in enumerate(TEXTS)
    )
    config = both.config(f"    slack_configs:\n{entries}")
    alerts = (instance(both.start, summary), instance(both.start, summary, "Slow", gpu="3"))
    with alertmanager(both.folder, config) as url:
        await post(url, alerts)
        await until(lambda: len({got.path for got in both.slack.got}) == len(TEXTS))
    theirs = {int(got.path.strip("/")): got.json["attachments"][0]["text"] for got in both.slack.got}
    sections = read_receivers(both.folder / "alertmanager.yml").sections["ops.team"]
    for number, section in enumerate(sections):
        assert isinstance(section.texts, OwnTexts)
        ours = section.texts.rendered(message(theirs_url(url), alerts), 0.0)
        assert ours["title"] == f"t{number}"
        assert _shown(ours["text"]) == theirs[number], TEXTS[number]
        if summary == HOSTILE:
            assert "<!channel>" not in ours["text"] and "<https://evil" not in ours["text"], TEXTS[number]


def theirs_url(url: str) -> str:
    """Return the address that Alertmanager gives its templates: by the name of this machine."""
    return f"http://{socket.gethostname()}:{url.rpartition(':')[2]}"


def _shown(text: str) -> str:
    """Return a text of mrkdwn as Slack shows it. Alertmanager does not escape what comes from alerts; we do."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@pytest.mark.parametrize("summary", ["5% of requests fail", HOSTILE], ids=["plain", "hostile"])
async def test_an_email_has_the_same_subject_text_and_html(summary: str, both: Both) -> None:
    config = both.config("""\
    email_configs:
      - to: ops@example.org
        headers: {Subject: '{{ template "email.default.subject" . }} {{ .Status }}'}
        text: 'T {{ template "team.lines" . }}{{ .CommonAnnotations.summary }}'
        html: |
          <html><body>{{ range .Alerts }}<b title="{{ .Annotations.summary }}">{{ .Labels.alertname | toLower }}</b>
          <a href="{{ .Annotations.runbook_url }}">r</a> <a href="{{ .Annotations.evil }}">e</a>
          {{ .Annotations.summary }} {{ "<i>" }} {{ safeHtml "<u>" }}{{ end }}</body></html>
""")
    evil = replace(
        instance(both.start, summary),
        annotations=(*instance(both.start, summary).annotations, ("evil", "javascript:alert(1)")),
    )
    with alertmanager(both.folder, config) as url:
        await post(url, (evil,))
        await until(lambda: len(both.mail.mails) == 1)
        (section,) = read_receivers(both.folder / "alertmanager.yml").sections["ops.team"]
        notifier = recipe_of(section).made()
        await notifier.send(message(url, (evil,)), None)
    theirs, ours = both.mail.mails
    assert ours["Subject"] == theirs["Subject"]
    for kind in ("plain", "html"):
        assert _body(ours, kind) == _body(theirs, kind)
    assert "javascript" not in _body(ours, "html")


def _body(mail: Any, kind: str) -> str:
    part = mail.get_body(preferencelist=(kind,))
    return str(part.get_content()).replace("\r\n", "\n").strip()


LOOK = """\
    slack_configs:
      - api_url: 'URL/slack'
        color: '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'
        title: t
        title_link: 'https://wiki.example/{{ .CommonLabels.alertname }}'
        username: '{{ template "slack.default.username" . }} of {{ .CommonLabels.node }}'
        icon_emoji: '{{ if eq .Status "firing" }}:fire:{{ end }}'
        icon_url: 'https://img.example/{{ .CommonLabels.node }}.png'
        footer: '{{ .Receiver }} {{ .CommonAnnotations.summary }}'
        image_url: '{{ .CommonAnnotations.runbook_url }}'
        thumb_url: 'https://img.example/small.png'
        short_fields: true
        fields:
          - {title: 'On {{ .CommonLabels.node }}', value: '{{ .CommonAnnotations.summary }}'}
          - {title: Alerts, value: '{{ .Alerts | len }}', short: false}
        actions:
          - {type: button, text: 'Go to {{ .CommonLabels.node }}', url: 'https://d/{{ .Status }}', style: danger}
"""


@pytest.mark.parametrize("summary", ["5% of requests fail", HOSTILE], ids=["plain", "hostile"])
async def test_slack_gets_the_same_look(summary: str, both: Both) -> None:
    alerts = (instance(both.start, summary),)
    with alertmanager(both.folder, both.config(LOOK.replace("URL", both.slack.url))) as url:
        await post(url, alerts)
        await until(lambda: len(both.slack.got) == 1)
    theirs = both.slack.got[0].json
    (section,) = read_receivers(both.folder / "alertmanager.yml").sections["ops.team"]
    assert isinstance(section.texts, OwnTexts)
    ours = section.texts.rendered(message(theirs_url(url), alerts), 0.0)
    (attachment,) = theirs["attachments"]
    for place in ("username", "icon_emoji", "icon_url"):
        assert ours[place] == theirs[place]
    for place in ("color", "title_link", "footer", "image_url", "thumb_url"):
        assert ours[place] == attachment[place]
    told = [(field["title"], field["value"], field["short"]) for field in attachment["fields"]]
    assert told == [(one["title"], _shown(one["value"]), "short" in one) for one in items(ours, "fields")]
    (action,) = attachment["actions"]
    assert [{"type": "button", **one} for one in items(ours, "actions")] == [action]


PAGERS = """\
    pagerduty_configs:
      - routing_key: 0123456789abcdef0123456789abcdef
        url: URL/v2/enqueue
        client: '{{ template "pagerduty.default.client" . }} {{ .Status }}'
        client_url: 'https://wiki.example/{{ .CommonLabels.alertname }}'
        component: '{{ .CommonLabels.node }}'
        group: '{{ .CommonLabels.missing }}g'
        class: '{{ .CommonLabels.alertname | toLower }}'
        source: '{{ .Receiver }} {{ .CommonAnnotations.summary }}'
        severity: '{{ .CommonLabels.severity }}'
        links: [{href: '{{ .CommonAnnotations.runbook_url }}', text: 'runbook of {{ .CommonLabels.alertname }}'}]
        images: [{src: 'https://img.example/{{ .CommonLabels.node }}.png', alt: graph, href: 'https://d.example'}]
        details: {who: '{{ .Receiver }}'}
    opsgenie_configs:
      - api_key: key
        api_url: URL/
        source: 'https://wiki.example/{{ .CommonLabels.alertname }}'
        entity: '{{ .CommonLabels.node }}'
        note: 'noted: {{ .CommonAnnotations.summary }}'
        priority: '{{ if eq .CommonLabels.severity "critical" }}P2{{ end }}'
        tags: 'llm, {{ .CommonLabels.node }},{{ .CommonLabels.missing }}'
        actions: 'restart,look at {{ .CommonLabels.node }}'
        details: {who: '{{ .Receiver }}', node: 'the {{ .CommonLabels.node }}'}
        responders:
          - {type: schedule, name: primary}
          - {type: team, id: '{{ .CommonLabels.node }}'}
          - {type: user, username: '{{ .CommonLabels.node }}@example.org'}
          - {type: teams, name: '{{ .CommonLabels.node }},ops'}
          - {type: '{{ .CommonLabels.missing }}', name: '{{ .CommonLabels.missing }}'}
"""


async def test_pagers_get_the_same_fields(both: Both) -> None:
    """Lists of ours have entries of the control plane's own, too."""
    alerts = (instance(both.start, "5% of requests fail"),)
    with alertmanager(both.folder, both.config(PAGERS.replace("URL", both.slack.url))) as url:
        await post(url, alerts)
        await until(lambda: len(both.slack.got) == 2)
    for section in read_receivers(both.folder / "alertmanager.yml").sections["ops.team"]:
        notifier = recipe_of(section).made()
        await notifier.send(message(theirs_url(url), alerts), None)
        await notifier.close()
    duty, genie = ([got.json for got in both.slack.got if got.path.startswith(path)] for path in ("/v2/e", "/v2/a"))
    theirs, ours = duty
    for name in ("client", "client_url", "images"):
        assert ours[name] == theirs[name], name
    for name in ("component", "group", "class", "source", "severity"):
        assert ours["payload"][name] == theirs["payload"][name], name
    assert theirs["links"][0] in ours["links"] and ours["payload"]["custom_details"]["who"] == "ops\\.team"
    theirs, ours = genie
    for name in ("source", "entity", "note", "priority", "details", "actions"):
        assert ours[name] == theirs[name], name
    assert ours["tags"] == [*(tag.strip() for tag in theirs["tags"]), "critical"]
    assert sorted(ours["responders"], key=str) == sorted(theirs["responders"], key=str)
