"""The sections of notifiers: what each kind needs, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from alerts.errors import DeliveryFailed
from controlplane.app.notifying.recipes import recipe_of
from controlplane.app.notifying.secrets import MAX_SECRET_BYTES, Secret, secrets_of
from controlplane.config.difference import differences
from controlplane.config.model import Fleet
from controlplane.config.notifiers import EmailSection, NotifierSection, PagerDutySection
from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

MAIL = "type: email, host: mail.example, from: a@example.org, to: [b@example.org]"


def fleet(*fields: str) -> Fleet:
    items = "".join(f"  - {{name: n{number}, {each}}}\n" for number, each in enumerate(fields))
    return parse_fleet(f"fleet: {{name: a}}\nnotifiers:\n{items}", Path("fleet.yaml"))


def section(fields: str) -> NotifierSection:
    return fleet(fields).notifiers[0]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ("type: webhook", "type webhook needs one of url:, url_env:, url_file:"),
        ("type: webhook, url: 'http://a', url_env: U", "type webhook needs one of url:, url_env:, url_file:"),
        ("type: webhook, url: 'ftp://a'", "expected an address that begins with http:// or https://"),
        ("type: webhook, url: 'http://a', max_alerts: -1", "max_alerts"),
        ("type: webhook, url: 'http://a', headers: {Authorization: x}", "is set by the control plane"),
        (
            "type: webhook, url: 'http://a', authorization: {credentials_env: A}, basic_auth: {username: u, "
            "password_file: p}",
            "cannot both be given",
        ),
        ("type: alertmanager, urls: []", "urls"),
        ("type: alertmanager, urls: ['http://u:p@a']", "expected an address without credentials"),
        ("type: alertmanager, urls: ['http://a'], ends_after: 4m", "ends_after"),
        ("type: alertmanager, urls: ['http://a'], send_resolved: false", "an Alertmanager needs the end of each alert"),
        ("type: feishu", "type feishu needs one of url_env:, url_file:"),
        ("type: feishu, url: 'https://open.feishu.cn/secret'", "unknown field"),
        ("type: dingtalk, url_env: U, secret_env: A, secret_file: b", "takes one of secret_env:, secret_file:"),
        ("type: wecom, url_env: U, url_file: u", "type wecom needs one of url_env:, url_file:"),
        ("type: msteams, url_env: U, language: fr", "expected one of: en, zh"),
        ("type: slack_webhook", "type slack_webhook needs one of url_env:, url_file:"),
        ("type: pagerduty", "type pagerduty needs one of routing_key_env:, routing_key_file:"),
        ("type: opsgenie, api_key_env: A, url: 'https://a?x=1'", "expected an address without credentials, ? and #"),
        ("type: command, command: []", "command"),
        ("type: command, command: [a], timeout: 1m", "timeout"),
        ("type: command, command: [a], environment: {'A=B': c}", "expected a variable's name without '='"),
        (f"{MAIL}, username: u", "username: needs password_env: or password_file:"),
        (f"{MAIL}, password_env: P", "username: needs password_env: or password_file:"),
        (f"{MAIL}, username: u, password_env: P, password_file: p", "takes one of password_env:, password_file:"),
        (f"{MAIL}, username: u, password_env: P, security: none", "none would send the password in clear"),
        (f"{MAIL}, port: 0", "port"),
        ("type: email, host: 'm:25', from: a@b, to: [b@c]", "the port goes into port:"),
        ("type: email, host: m, from: a, to: [b@c]", "expected one address such as ops@example.org"),
        ("type: email, host: m, from: a@b, to: ['b@c, d@e']", "expected one address such as ops@example.org"),
        ("type: email, host: m, from: a@b, to: ['b@c <d@e> x']", "expected one address such as ops@example.org"),
        ('type: email, host: m, from: "a@b\\r\\nBcc: x@y", to: [b@c]', "a control character"),
        ("type: email, host: m, from: a@b, to: []", "to"),
    ],
)
def test_a_section_that_cannot_work_is_refused(fields: str, fault: str) -> None:
    with pytest.raises(ConfigErrors) as failed:
        fleet(fields)
    assert any(fault in str(error) for error in failed.value.errors), str(failed.value)


def test_the_usual_values_are_the_defaults() -> None:
    mail = section(MAIL)
    assert isinstance(mail, EmailSection)
    assert (mail.security, mail.used_port, mail.html, mail.hello) == ("starttls", 587, True, "localhost")
    for security, port in (("tls", 465), ("none", 25)):
        other = section(f"{MAIL}, security: {security}")
        assert isinstance(other, EmailSection) and other.used_port == port
    local = section(f"{MAIL.replace('mail.example', '127.0.0.1')}, security: none, username: u, password_env: P")
    assert isinstance(local, EmailSection), "a password may go in clear to this machine"
    names = section("type: email, host: m, from: 'A B <a@b>', to: ['C <c@d>']")
    assert isinstance(names, EmailSection) and names.from_ == "A B <a@b>"


def test_a_change_shows_no_address_of_a_webhook() -> None:
    before, after = fleet("type: webhook, url: 'http://a/s3cret-1'"), fleet("type: webhook, url: 'http://a/s3cret-2'")
    (change,) = differences(before, after)
    assert change.field == "notifiers[n0].url"
    assert "s3cret" not in str(change)
    (added,) = differences(fleet("type: log"), fleet("type: log", "type: webhook, url: 'http://a/s3cret-1'"))
    assert "s3cret" not in str(added)


def test_secrets_are_named_by_their_fields_and_read_at_every_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = secrets_of(section("type: feishu, url_env: FEISHU_URL, secret_file: /nowhere/secret"))
    assert list(found) == ["url_env", "secret_file"]
    monkeypatch.delenv("FEISHU_URL", raising=False)
    with pytest.raises(DeliveryFailed, match="notifier n0: environment variable FEISHU_URL is not set or empty; put"):
        found["url_env"]()
    monkeypatch.setenv("FEISHU_URL", " https://a \n")
    assert found["url_env"]() == "https://a"
    with pytest.raises(DeliveryFailed, match="/nowhere/secret cannot be read: No such file or directory"):
        found["secret_file"]()
    monkeypatch.setenv("FEISHU_URL", "https://a\r\nX-Evil: 1")
    with pytest.raises(DeliveryFailed, match="holds a line break or a control character") as failed:
        found["url_env"]()
    assert "Evil" not in str(failed.value)
    assert Secret("n", "key", inline=SecretStr("x"))() == "x"
    (tmp_path / "long").write_text("x" * 10 * MAX_SECRET_BYTES)
    assert len(Secret("n", "key", file=tmp_path / "long")()) == MAX_SECRET_BYTES


def test_equal_sections_have_equal_recipes_and_others_do_not() -> None:
    one = "type: feishu, url_env: A, secret_env: B"
    assert recipe_of(section(one)) == recipe_of(section(one))
    for other in (
        "type: feishu, url_env: A",
        one + ", language: zh",
        one + ", send_resolved: false",
        one + ", tls: {insecure_skip_verify: true}",
    ):
        assert recipe_of(section(one)) != recipe_of(section(other))


def test_a_secret_of_an_alertmanager_yml_stands_in_no_field() -> None:
    made = PagerDutySection.with_secrets({"name": "a", "type": "pagerduty"}, {"routing_key": "s3cret"})
    assert "s3cret" not in f"{made!r} {made.model_dump()} {made.model_dump_json()} {secrets_of(made)!r}"
    assert secrets_of(made)["routing_key_env"]() == "s3cret"
    assert made != PagerDutySection.with_secrets({"name": "a", "type": "pagerduty"}, {"routing_key": "other"})
