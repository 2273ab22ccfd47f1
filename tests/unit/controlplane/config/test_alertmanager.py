"""The receivers of an alertmanager.yml as notifiers, and what is told about the rest."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.texts.templates import template_files
from controlplane.app.notifying.recipes import recipe_of
from controlplane.app.notifying.secrets import secrets_of
from controlplane.config.notifications.alertmanager import Receivers, read_receivers
from controlplane.config.notifiers import (
    EmailSection,
    MSTeamsSection,
    OpsgenieSection,
    PagerDutySection,
    SlackSection,
    SlackWebhookSection,
    WebhookSection,
)
from tests.patience import PROCESS_S

Read = Callable[[str], Receivers]
WITH_PROXY = """\
route: {{receiver: r}}
receivers:
  - name: r
    webhook_configs: [{{url: "http://v/", http_config: &http {{{more}}}}}]
    pagerduty_configs: [{{routing_key: k, http_config: *http}}]
"""
WITH_ISSUER = """\
route: {{receiver: r}}
receivers:
  - name: r
    webhook_configs:
      - url: "http://v/"
        http_config:
          oauth2: {{client_id: c, token_url: "https://i/token", tls_config: {{ca_file: ca.pem}}, {more}}}
"""
WHOLE = """\
global:
  smtp_smarthost: mail.example.org:587
  smtp_from: Alerts <alerts@example.org>
  smtp_auth_username: alerts
  smtp_auth_password: s3cret-mail
  slack_api_url: https://hooks.slack.com/services/T0/B0/s3cret-slack
  opsgenie_api_key: s3cret-genie
  http_config: {tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: /k.pem, server_name: hooks.internal}}
route: {receiver: team x, routes: [{receiver: pager}, {receiver: nobody}, {receiver: mail}]}
receivers:
  - name: team x
    slack_configs:
      - {channel: "#ops", title: "{{ .Status }}", send_resolved: true}
      - api_url: https://slack.example/api/chat.postMessage
        channel: "#gpu"
        http_config: {authorization: {credentials: s3cret-bot}}
    webhook_configs:
      - {url: "http://u/s3cret-hook", max_alerts: 10, http_config: {basic_auth: {username: u, password: s3cret-p}}}
      - {url: "http://v/", http_config: {authorization: {credentials_file: token}, follow_redirects: false}}
  - name: nobody
  - name: pager
    pagerduty_configs: [{routing_key: s3cret-pd, url: "https://events.eu.pagerduty.com/v2/enqueue", severity: critical}]
    opsgenie_configs: [{tags: "llm, gpu", responders: [{type: team, name: gpu}, {type: user, username: a}]}]
    msteams_configs: [{webhook_url: "https://t.example/s3cret-teams"}]
  - name: mail
    email_configs:
      - {to: "a@example.org, B <b@example.org>", headers: {Cc: c@example.org, Subject: x}, send_resolved: false}
  - name: relay
    telegram_configs: [{bot_token: s3cret-tg, chat_id: 1}]
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def written(text: str) -> Receivers:
        (tmp_path / "alertmanager.yml").write_text(text)
        return read_receivers(tmp_path / "alertmanager.yml")

    return written


def test_each_receiver_becomes_its_notifiers(read: Read, tmp_path: Path) -> None:
    sections = read(WHOLE).sections
    assert {name: [one.name for one in found] for name, found in sections.items()} == {
        "team x": ["team x/slack[0]", "team x/slack[1]", "team x/webhook[0]", "team x/webhook[1]"],
        "nobody": [],
        "pager": ["pager/msteams[0]", "pager/opsgenie[0]", "pager/pagerduty[0]"],
        "mail": ["mail"],
        "relay": [],
    }
    hook, bot, first, second = sections["team x"]
    assert isinstance(hook, SlackWebhookSection) and hook.tls and hook.tls.ca_file == tmp_path / "ca.pem"
    shown = hook.tls.cert_file, hook.tls.key_file, hook.tls.server_name
    assert shown == (tmp_path / "c.pem", Path("/k.pem"), "hooks.internal")
    assert isinstance(bot, SlackSection)
    assert (bot.channel, bot.base_url) == ("#gpu", "https://slack.example/api/")
    assert isinstance(first, WebhookSection) and first.max_alerts == 10
    assert isinstance(second, WebhookSection) and second.authorization
    assert second.authorization.credentials_file == tmp_path / "token"
    teams, genie, duty = sections["pager"]
    assert isinstance(teams, MSTeamsSection)
    assert isinstance(genie, OpsgenieSection) and (genie.teams, genie.tags) == (("gpu",), ("llm", "gpu"))
    assert [one.model_dump(exclude_none=True) for one in genie.responders] == [{"type": "user", "username": "a"}]
    assert isinstance(duty, PagerDutySection) and duty.url == "https://events.eu.pagerduty.com"
    (mail,) = sections["mail"]
    assert isinstance(mail, EmailSection)
    assert (mail.host, mail.used_port, mail.security) == ("mail.example.org", 587, "starttls")
    assert (mail.from_, mail.to) == ("Alerts <alerts@example.org>", ("a@example.org", "B <b@example.org>"))
    assert (mail.cc, mail.username) == (("c@example.org",), "alerts")


def test_secrets_of_the_file_are_used_and_never_shown(read: Read) -> None:
    found = read(WHOLE)
    sections = [section for each in found.sections.values() for section in each]
    used = {secret() for section in sections for secret in secrets_of(section).values()}
    assert used == {
        "https://hooks.slack.com/services/T0/B0/s3cret-slack",
        "s3cret-bot",
        "http://u/s3cret-hook",
        "http://v/",
        "s3cret-pd",
        "s3cret-genie",
        "https://t.example/s3cret-teams",
        "s3cret-mail",
    }
    header = sections[2].inline("authorization")
    assert header is not None and header.get_secret_value() == "Basic dTpzM2NyZXQtcA=="
    shown = f"{found} {found!r} {[recipe_of(section) for section in sections]} {[s.model_dump() for s in sections]}"
    assert "s3cret" not in shown and "dTpzM2" not in shown


def test_a_proxy_is_taken_over_unless_it_holds_a_password(read: Read) -> None:
    proxied = WITH_PROXY.format(more="proxy_url: 'http://p:3128', no_proxy: .svc")
    for section in read(proxied).sections["r"]:
        assert isinstance(section, WebhookSection | PagerDutySection)
        assert (section.proxy_url, section.no_proxy) == ("http://p:3128", ".svc")
    for section in read(WITH_PROXY.format(more="proxy_from_environment: true")).sections["r"]:
        assert isinstance(section, WebhookSection | PagerDutySection) and section.proxy_from_environment
    found = read(WITH_PROXY.format(more="proxy_url: 'http://u:s3cret@p:3128'"))
    notes = str([note.text for note in found.notes])
    assert "webhook_configs[0].http_config.proxy_url is not taken over: it holds a password" in notes
    assert "s3cret" not in notes


def test_an_issuer_of_tokens_is_taken_over_if_its_secret_is_in_a_file(read: Read, tmp_path: Path) -> None:
    (section,) = read(
        WITH_ISSUER.format(more="client_secret_file: s, scopes: [a], endpoint_params: {audience: x}")
    ).sections["r"]
    assert isinstance(section, WebhookSection) and section.oauth2
    assert section.oauth2.model_dump(exclude_none=True) == {
        "client_id": "c",
        "client_secret_file": tmp_path / "s",
        "token_url": "https://i/token",
        "scopes": ("a",),
        "endpoint_params": {"audience": "x"},
        "tls": {"ca_file": tmp_path / "ca.pem", "insecure_skip_verify": False},
        "proxy_from_environment": False,
    }
    found = read(WITH_ISSUER.format(more="client_secret: s3cret"))
    (section,) = found.sections["r"]
    assert isinstance(section, WebhookSection) and section.oauth2 is None
    notes = [note.text for note in found.notes]
    assert (
        "webhook_configs[0].http_config.oauth2.client_secret is not taken over: oauth2 needs client_secret_file"
        in str(notes)
    )
    assert "s3cret" not in str(notes)


def test_a_secret_that_changes_makes_another_notifier(read: Read) -> None:
    before, same = read(WHOLE).sections["mail"][0], read(WHOLE).sections["mail"][0]
    after = read(WHOLE.replace("s3cret-mail", "s3cret-new")).sections["mail"][0]
    assert recipe_of(before) == recipe_of(same)
    assert recipe_of(before) != recipe_of(after)


async def test_notifiers_are_made(read: Read) -> None:
    for each in read(WHOLE).sections.values():
        for section in each:
            notifier = recipe_of(section).made()
            assert notifier.name == section.name
            await notifier.close()


def test_resolved_alerts_are_sent_as_in_alertmanager(read: Read) -> None:
    sections = [one for found in read(WHOLE).sections.values() for one in found]
    assert {one.name: one.send_resolved for one in sections} == {
        "team x/slack[0]": True,
        "team x/slack[1]": False,
        "team x/webhook[0]": True,
        "team x/webhook[1]": True,
        "pager/msteams[0]": True,
        "pager/opsgenie[0]": True,
        "pager/pagerduty[0]": True,
        "mail": False,
    }


def test_what_is_not_taken_over_is_told_with_its_line(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    kinds = "email, msteams, msteamsv2, opsgenie, pagerduty, slack, webhook"
    assert [str(note).removeprefix(f"{file}:") for note in read(WHOLE).notes] == [
        "13: team x: slack_configs[0].channel is not taken over: an incoming webhook has a channel of its own",
        "19: team x: webhook_configs[1].http_config.follow_redirects is not taken over",
        f"29: relay: telegram_configs[0]: receivers of kind telegram are not supported; supported are {kinds}; "
        "no route uses the receiver",
    ]


def test_sections_of_the_file_that_are_not_taken_over_are_told(read: Read, tmp_path: Path) -> None:
    text = """\
global:
  resolve_timeout: 5m
  smtp_from: a@example.org
  victorops_api_url: https://v.example
templates: ["*.tmpl"]
tracing: {endpoint: "t:1"}
route: {receiver: a}
receivers: [{name: a}]
"""
    assert [str(note).rpartition("yml:")[2] for note in read(text).notes] == [
        "4: global.victorops_api_url is not taken over",
        f"5: templates: *.tmpl matches no file; it is looked for in {tmp_path}",
        "6: tracing is not taken over",
    ]


def test_a_changed_template_makes_another_notifier(read: Read, tmp_path: Path) -> None:
    text = WHOLE + 'templates: ["t/*.tmpl"]\n'
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.tmpl").write_text('{{ define "x" }}1{{ end }}')
    before, same = read(text).sections, read(text).sections
    (tmp_path / "t" / "a.tmpl").write_text('{{ define "x" }}2{{ end }}')
    after = read(text).sections
    assert recipe_of(before["mail"][0]) == recipe_of(same["mail"][0]) != recipe_of(after["mail"][0])
    assert recipe_of(before["pager"][0]) == recipe_of(after["pager"][0]), "it has no text of its own"
    assert template_files(tmp_path / "alertmanager.yml") == (tmp_path / "t" / "a.tmpl",)


def test_a_fault_in_a_template_is_told_with_file_and_line(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.tmpl").write_text('{{ define "x" }}\n{{ if .Alerts }}\n{{ end }}')
    with pytest.raises(RuleError, match=r'a\.tmpl:1: {{ define "x" }} has no {{ end }}'):
        read(WHOLE + 'templates: ["a.tmpl"]\n')


TEMPLATED = """\
route: {receiver: a}
templates: ["*.tmpl"]
receivers:
  - name: a
    slack_configs: [{api_url: http://a, title: '{{ template "CALLED" . }}'}]
  - name: b
    slack_configs: [{api_url: http://b, title: '{{ if true }}{{ template "outer" . }}{{ end }}'}]
  - name: c
    slack_configs: [{api_url: http://c, text: '{{ newer .Alerts }}'}, {api_url: http://d}]
"""
NEWER = """\
{{ define "outer" }}{{ range .Alerts }}{{ template "inner" . }}{{ end }}{{ end }}
{{ define "plain" }}{{ .Status }}{{ end }}
{{ define "inner" }}{{ with .Labels }}
{{ .node | (newer 1).x }}{{ end }}{{ end }}
"""


@pytest.mark.parametrize("called", ["outer", "inner"])
def test_an_unknown_function_refuses_the_file_if_a_route_leads_to_it(called: str, read: Read, tmp_path: Path) -> None:
    (tmp_path / "new.tmpl").write_text(NEWER)
    with pytest.raises(RuleError) as failed:
        read(TEMPLATED.replace("CALLED", called))
    assert str(failed.value) == (
        f"{tmp_path}/alertmanager.yml:5: a: slack_configs[0].title: it calls a template that cannot be executed, "
        f"{tmp_path}/new.tmpl:4: {{{{ .node | (newer 1).x }}}}: newer is not a function of templates"
    )


def test_an_unknown_function_that_no_route_leads_to_is_told(read: Read, tmp_path: Path) -> None:
    (tmp_path / "new.tmpl").write_text(NEWER)
    found = read(TEMPLATED.replace("CALLED", "plain"))
    assert {name: [one.name for one in each] for name, each in found.sections.items()} == {
        "a": ["a"],
        "b": [],
        "c": ["c/slack[1]"],
    }
    fault = "{{ .node | (newer 1).x }}: newer is not a function of templates"
    assert [str(note).removeprefix(f"{tmp_path}/") for note in found.notes] == [
        f"new.tmpl:4: the template inner cannot be executed: {fault}; no route leads to a text that calls it",
        "alertmanager.yml:7: b: slack_configs[0].title: it calls a template that cannot be executed, "
        f"{tmp_path}/new.tmpl:4: {fault}; no route uses the receiver",
        "alertmanager.yml:9: c: slack_configs[0].text: {{ newer .Alerts }}: newer is not a function of templates; "
        "no route uses the receiver",
    ]


def test_a_later_template_of_the_name_takes_the_place_of_one_with_an_unknown_function(
    read: Read, tmp_path: Path
) -> None:
    (tmp_path / "new.tmpl").write_text(NEWER)
    (tmp_path / "old.tmpl").write_text('{{ define "inner" }}{{ .Status }}{{ end }}')
    found = read(TEMPLATED.replace("CALLED", "outer"))
    assert [len(each) for each in found.sections.values()] == [1, 1, 1]
    (tmp_path / "zero.tmpl").write_text('{{ define "slack.default.title" }}{{ newer }}{{ end }}')
    with pytest.raises(RuleError, match=r"zero\.tmpl:1: {{ newer }}: newer is not a function"):
        read(TEMPLATED.replace("CALLED", "slack.default.fallback"))


UNDEFINED = """\
route: {receiver: a}
templates: ["*.tmpl", absent.tmpl]
receivers:
  - name: a
    slack_configs: [{api_url: http://a, title: 'CALL'}]
  - name: b
    slack_configs: [{api_url: http://b, text: '{{ template "gone" . }}'}]
"""
OUTER = '{{ define "ops.title" }}\n{{ range .Alerts }}{{- template "ops.line" . }}{{ end }}{{ end }}'


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ('{{ template "ops.titel" . }}', 'the template "ops.titel" is not defined; is "ops.title" meant?'),
        (
            '{{ if .Alerts }}{{ template "xyz" . }}{{ end }}',
            'the template "xyz" is not defined; write {{ define "xyz" }} in a file of `templates:`',
        ),
        (
            '{{ template "ops.title" . }}',
            "it calls a template that cannot be executed, FOLDER/ops.tmpl:2: "
            'the template "ops.line" is not defined; is "ops.title" meant?',
        ),
    ],
)
def test_a_template_that_is_not_defined_refuses_the_file_if_a_route_leads_to_it(
    call: str, fault: str, read: Read, tmp_path: Path
) -> None:
    (tmp_path / "ops.tmpl").write_text(OUTER)
    with pytest.raises(RuleError) as failed:
        read(UNDEFINED.replace("CALL", call))
    where = f"{tmp_path}/alertmanager.yml:5: a: slack_configs[0].title: "
    assert str(failed.value) == where + fault.replace("FOLDER", str(tmp_path))


def test_a_text_may_define_what_a_template_of_a_file_calls(read: Read, tmp_path: Path) -> None:
    (tmp_path / "ops.tmpl").write_text(OUTER)
    found = read(UNDEFINED.replace("CALL", '{{ define "ops.line" }}x{{ end }}{{ template "ops.title" . }}'))
    assert [len(each) for each in found.sections.values()] == [1, 0]


def test_an_undefined_template_that_no_route_leads_to_and_a_pattern_without_files_are_told(
    read: Read, tmp_path: Path
) -> None:
    (tmp_path / "ops.tmpl").write_text(OUTER)
    assert [str(note).removeprefix(f"{tmp_path}/") for note in read(UNDEFINED.replace("CALL", "x")).notes] == [
        f"alertmanager.yml:2: templates: absent.tmpl matches no file; it is looked for in {tmp_path}",
        'ops.tmpl:2: the template ops.title cannot be executed: the template "ops.line" is not defined; '
        'is "ops.title" meant?; no route leads to a text that calls it',
        'alertmanager.yml:7: b: slack_configs[0].text: the template "gone" is not defined; '
        'write {{ define "gone" }} in a file of `templates:`; no route uses the receiver',
    ]
    (tmp_path / "ops.tmpl").unlink()
    found = read(UNDEFINED.replace("CALL", "x").replace("absent.tmpl", "/absent/*.tmpl")).notes
    assert [note.text for note in found[:2]] == [
        f"templates: *.tmpl matches no file; it is looked for in {tmp_path}",
        "templates: /absent/*.tmpl matches no file; look at the path",
    ]


ROUTE = "route: {receiver: a}\nreceivers:\n  - name: a\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (ROUTE + "    discord_configs: [{webhook_url: s3cret}]\n", "receivers of kind discord are not supported"),
        (ROUTE + "    slack_configs: [{channel: c}]\n", ":4: a: slack_configs[0]: needs api_url or api_url_file"),
        (
            ROUTE + "    slack_configs: [{api_url: a, text: '{{ if .Status }}'}]\n",
            ":4: a: slack_configs[0].text: {{ if .Status }} has no {{ end }}",
        ),
        (
            ROUTE + "    email_configs: [{to: a@b, from: b@c, smarthost: 'm:1', headers: {Subject: '{{ x }}'}}]\n",
            ":4: a: email_configs[0].headers.Subject: {{ x }}: x is not a function",
        ),
        (ROUTE + "    webhook_configs: [{}]\n", "needs url or url_file"),
        (
            ROUTE + "    webhook_configs: [{url: 'http://{{ .x }}'}]\n",
            "webhook_configs[0].url: a template is not expanded",
        ),
        (ROUTE + "    webhook_configs: [{url: a, max_alerts: x}]\n", "max_alerts: expected "),
        (
            ROUTE + "    opsgenie_configs: [{api_key: s3cret, responders: [{type: somebody, name: x}]}]\n",
            "responders.0.type: expected",
        ),
        (
            ROUTE + "    opsgenie_configs: [{api_key: s3cret, responders: [{type: user}]}]\n",
            "needs one of name:, username:",
        ),
        (ROUTE + "    pagerduty_configs: [{service_key: s3cret}]\n", "version 1 of PagerDuty's Events API"),
        (ROUTE + "    email_configs: [{to: a, smarthost: 'm:25', from: b@c}]\n", "expected one address such as"),
        (ROUTE + "    email_configs: [{to: a@b, smarthost: m, from: b@c}]\n", "needs smarthost, as host:port"),
        (
            ROUTE + "    email_configs: [{to: a@b, smarthost: 'm:25', from: b@c, require_tls: false, "
            "auth_username: u, auth_password: s3cret}]\n",
            "none would send the password in clear",
        ),
        (ROUTE + "    slack_configs: [{api_url: x, send_resolved: perhaps}]\n", "expected true or false"),
        ("receivers: [{name: a}]\n", "a configuration needs a route"),
        ("route: {receiver: b}\nreceivers: [{name: a}]\n", "receiver b is not in receivers"),
    ],
)
def test_faults_have_file_and_line_and_no_secret(read: Read, text: str, fault: str) -> None:
    with pytest.raises(RuleError) as failed:
        read(text)
    assert fault in str(failed.value)
    assert "alertmanager.yml:" in str(failed.value)
    assert "s3cret" not in str(failed.value)


def test_the_usual_ports_mean_what_they_mean_in_alertmanager(read: Read) -> None:
    security = {
        "smarthost: 'm:465'": "tls",
        "smarthost: 'm:587'": "starttls",
        "smarthost: '[::1]:25', require_tls: false": "none",
        "smarthost: 'm:465', force_implicit_tls: false": "starttls",
    }
    for fields, expected in security.items():
        (section,) = read(ROUTE + f"    email_configs: [{{to: a@b, from: b@c, {fields}}}]\n").sections["a"]
        assert isinstance(section, EmailSection) and section.security == expected


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="cannot be read: No such file"):
        read_receivers(tmp_path / "missing.yml")


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")
def test_amtool_takes_the_file_too(read: Read, tmp_path: Path) -> None:
    read(WHOLE)
    (tmp_path / "ca.pem").write_text("")
    # Debian's Alertmanager is older than this option of Microsoft Teams.
    text = "\n".join(line for line in WHOLE.splitlines() if "msteams" not in line and "ca.pem" not in line)
    (tmp_path / "old.yml").write_text(text)
    command = ["amtool", "check-config", str(tmp_path / "old.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
