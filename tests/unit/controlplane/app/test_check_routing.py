"""What `check` says of routes, inhibitions and an alertmanager.yml."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.app.check import inspect_file

FLEET = """\
fleet: {name: t}
targets: [{engine: vllm, addresses: ["127.0.0.1:1"]}]
notifiers: [{name: ops, type: log}, {name: pager, type: log}]
"""
ROUTES = """\
route:
  receiver: ops
  routes:
    - {matchers: ['severity=~".+"']}
    - {matchers: ['severity="critical"'], receiver: pager}
    - {matchers: ['a="b"', 'a!="b"']}
inhibit_rules:
  - {source_matchers: [alertname="Down"], target_matchers: [severity="warning"]}
"""


def told(folder: Path, text: str) -> list[str]:
    (folder / "fleet.yaml").write_text(text)
    return [str(finding).replace(f"{folder}/", "") for finding in inspect_file(folder / "fleet.yaml").findings]


def test_routes_that_get_nothing_and_wide_inhibitions_are_warnings(tmp_path: Path) -> None:
    assert told(tmp_path, FLEET + ROUTES) == [
        "fleet.yaml:8: warning: route.routes[1]: route.routes[1] gets no alert: route.routes[0] takes each before it; "
        "set continue: true there, or move this route before it",
        'fleet.yaml:9: warning: route.routes[2]: route.routes[2] gets no alert: none has both a="b" and a!="b"',
        "fleet.yaml:11: warning: inhibit_rules[0]: this inhibition has no equal labels: one alert holds back its "
        "targets of every model and node; add the labels that both must share, such as equal: [model]",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "route: {receiver: ops, routes: [{receiver: pagr}]}",
            "route.routes[0].receiver: 'pagr' is not one of notifiers: log, ops, pager; did you mean 'pager'?",
        ),
        (
            "route: {receiver: ops, routes: [{matchers: [a~b]}]}",
            "route.routes[0].matchers[0]: 'a~b': expected one of =, !=, =~ and !~, got '~b'",
        ),
        (
            "route: {receiver: ops, routes: [{matchers: ['{}']}]}",
            "route.routes[0].matchers[0]: expected a matcher such as severity=\"critical\", got '{}'",
        ),
        (
            "route: {receiver: ops, routes: [{routes: [{mute_time_intervals: [night]}]}]}",
            "route.routes[0].routes[0].mute_time_intervals[0]: 'night' is not one of time_intervals: there are none",
        ),
        (
            "route: {receiver: ops, routes: [{contine: true}]}",
            "route.routes[0].contine: unknown field; did you mean 'continue'? known here: "
            "receiver, matchers, group_by, group_wait, group_interval, repeat_interval, continue, "
            "mute_time_intervals, active_time_intervals, escalation, routes",
        ),
        (
            "time_intervals: [{name: n, time_intervals: [{times: [{start_time: '9:00', end_time: '10:00'}]}]}]",
            "time_intervals[0].time_intervals[0].times[0]: expected a time such as 09:00, up to 24:00, got '9:00'",
        ),
        (
            "time_intervals: [{name: n, time_intervals: [{location: Mars/Base}]}]",
            "time_intervals[0].time_intervals[0].location: 'Mars/Base' is no time zone; expected a"
            " name such as Asia/Shanghai",
        ),
        (
            "route: {receiver: ops}\nnotifications: {alertmanager_config: am.yml}",
            "route: is in notifications.alertmanager_config; leave it out here",
        ),
    ],
)
def test_faults_of_routes_name_their_place(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "am.yml").write_text("route: {receiver: ops}\nreceivers: [{name: ops}]\n")
    (found,) = [one for one in told(tmp_path, f"{FLEET}{text}\n") if "warning" not in one]
    assert found.split(": ", 1)[1] == fault


def test_an_alertmanager_yml_is_checked_too(tmp_path: Path) -> None:
    text = f"{FLEET}notifications: {{alertmanager_config: am.yml}}\n"
    (tmp_path / "am.yml").write_text("route: {receiver: nobody}\n")
    (fault,) = told(tmp_path, text)
    assert fault.startswith("fleet.yaml:4: notifications.alertmanager_config: am.yml:1: ")
    assert "receiver nobody is not in receivers:; known are none" in fault
    (tmp_path / "am.yml").write_text("route: {receiver: ops}\nreceivers: [{name: ops}, {name: spare}]\n")
    assert told(tmp_path, text) == ["am.yml:2: warning: receiver spare is named by no route"]


def test_secrets_of_its_receivers_that_cannot_be_used_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "am.yml").write_text("""\
route: {receiver: ops}
receivers:
  - name: ops
    webhook_configs:
      - {url: "http://127.0.0.1:1/", http_config: {authorization: {credentials_file: none}}}
      - {url_file: gone}
    pagerduty_configs: [{routing_key_file: empty, http_config: {tls_config: {ca_file: empty}}}]
""")
    (tmp_path / "empty").touch()
    assert told(tmp_path, f"{FLEET}notifications: {{alertmanager_config: am.yml}}\n") == [
        "am.yml: warning: receiver ops: cannot read the credentials file none: No such file or directory",
        "am.yml: warning: receiver ops: notifier ops/pagerduty[0]: empty is not set or empty; put the integration"
        " key there",
        "am.yml: warning: receiver ops: notifier ops/webhook[1]: gone cannot be read: No such file or directory",
        "am.yml: warning: receiver ops: the CA file empty holds no PEM certificate",
    ]
