"""Rules, routes and notifiers as a configuration names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.errors import DeliveryFailed
from alerts.notify.log import LogNotifier
from alerts.notify.slack import SlackNotifier
from alerts.packs import rule_files
from controlplane.app.check import check_file
from controlplane.app.notifiers import build_notifiers, build_route
from controlplane.app.rules import describe_rules, fleet_rules, unsupported
from controlplane.cli.main import run
from controlplane.config.loader import LoadedFleet
from controlplane.errors import ConfigErrors

Write = Callable[[str], LoadedFleet]


def test_the_builtin_packs_are_the_default(fleet: Write) -> None:
    assert {g.file for g in fleet_rules(fleet(""))} == {"builtin:llm", "builtin:gpu"}


def test_thresholds_reach_the_rules(fleet: Write) -> None:
    loaded = fleet("rules: [builtin:gpu]\nthresholds: {temperature: {value: 70, for: 7s}}\n")
    rule = next(r for g in fleet_rules(loaded) for r in g.rules if r.name == "GPUTemperatureHigh")
    assert "70" in rule.expr
    assert rule.for_s == 7  # type: ignore[union-attr]  # an alerting rule


def test_an_absolute_glob_names_its_files(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n")
    loaded = fleet(f"rules: ['{tmp_path}/*.yml']\n")
    assert [g.name for g in fleet_rules(loaded)] == ["g"]
    assert rule_files(loaded.fleet.rules, tmp_path) == [tmp_path / "mine.yml"]


def test_a_fault_in_thresholds_has_its_line(fleet: Write) -> None:
    with pytest.raises(ConfigErrors) as caught:
        fleet_rules(fleet("evaluation_interval: 5s\nthresholds: {nope: {value: 1}}\n"))
    assert (caught.value.errors[0].line, caught.value.errors[0].field) == (3, "thresholds")


def test_check_looks_at_the_database_too(fleet: Write, tmp_path: Path) -> None:
    fleet("database: nonsense\n")
    with pytest.raises(ConfigErrors, match=r"fleet\.yaml:2: database: expected sqlite:///"):
        check_file(tmp_path / "fleet.yaml")


def test_an_unknown_threshold_names_the_known_ones(fleet: Write) -> None:
    with pytest.raises(ConfigErrors, match=r"temprature.*temperature"):
        fleet_rules(fleet("thresholds: {temprature: {value: 70}}\n"))


def test_a_users_own_files_are_relative_to_the_configuration(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "mine.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n")
    groups = fleet_rules(fleet("rules: [rules/*.yml]\n"))
    assert [(g.name, [r.name for r in g.rules]) for g in groups] == [("g", ["A"])]


def test_a_rule_that_is_defined_twice_is_a_warning_as_in_prometheus(
    fleet: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "groups: [{name: %s, rules: [{record: 'a:b', expr: up}]}]\n"
    (tmp_path / "a.yml").write_text(text % "x")
    (tmp_path / "b.yml").write_text(text % "y")
    fleet("rules: [a.yml, b.yml]\n")
    assert check_file(tmp_path / "fleet.yaml")[1].endswith("warning: a:b with labels {} is defined 2 times")
    assert run(["rules", "check", str(tmp_path / "a.yml"), str(tmp_path / "b.yml")]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path}/b.yml:1: warning: a:b with labels {{}} is defined 2 times; the first is at {tmp_path}/a.yml:1\n"
        "good: 2 rules, 2 groups, 1 warning\n"
    )


def test_a_rule_that_the_engine_cannot_evaluate_is_a_warning(
    fleet: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yml"
    file.write_text("groups: [{name: g, rules: [{alert: A, expr: 'mad_over_time(up[5m]) > 1'}]}]\n")
    fleet(f"rules: ['{file}']\n")
    warnings = check_file(tmp_path / "fleet.yaml")
    assert any(f"warning: {file};g: A: cannot be evaluated here: " in line for line in warnings)
    assert run(["rules", "check", str(file)]) == 0
    assert f"{file}:1: warning: group g: A: the embedded engine cannot evaluate it: " in capsys.readouterr().out


def test_an_expression_that_would_overflow_the_parser_is_refused_before_it(tmp_path: Path) -> None:
    (tmp_path / "deep.yml").write_text(f"groups: [{{name: g, rules: [{{alert: A, expr: '{'(' * 20000}'}}]}}]\n")
    with pytest.raises(ConfigErrors, match="more than 1500 operators and brackets"):
        describe_rules([tmp_path / "deep.yml"])


def test_the_packs_can_all_be_evaluated() -> None:
    assert unsupported(describe_rules([])) == []


def test_a_broken_rule_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]\n")
    with pytest.raises(ConfigErrors, match=r"bad\.yml"):
        describe_rules([tmp_path / "bad.yml"])


def test_notifiers_by_name_and_the_log_always(fleet: Write) -> None:
    loaded = fleet("""
        notifiers:
          - {name: ops, type: slack, channel: "#ops", token_env: NOT_SET_ANYWHERE}
        route: {receiver: ops, group_by: [alertname], group_wait: 5s}
        """)
    made = build_notifiers(loaded)
    assert {name: type(n) for name, n in made.items()} == {"log": LogNotifier, "ops": SlackNotifier}
    route = build_route(loaded)
    assert (route.receiver, route.group_by, route.group_wait_s) == ("ops", ("alertname",), 5)


def test_without_a_route_alerts_go_to_the_only_notifier_or_to_the_log(fleet: Write) -> None:
    assert build_route(fleet("")).receiver == "log"
    assert build_route(fleet("notifiers: [{name: file, type: log}]\n")).receiver == "file"
    assert build_route(fleet("notifiers: [{name: a, type: log}, {name: b, type: log}]\n")).receiver == "log"


async def test_a_slack_token_is_read_at_each_send_and_its_absence_is_plain(fleet: Write, tmp_path: Path) -> None:
    from controlplane.app.notifiers import _token

    loaded = fleet('notifiers: [{name: ops, type: slack, channel: "#ops", token_file: slack-token}]\n')
    read = _token(loaded.fleet.notifiers[0])
    with pytest.raises(DeliveryFailed, match="slack-token cannot be read"):
        read()
    (tmp_path / "slack-token").write_text("\n")
    with pytest.raises(DeliveryFailed, match="is empty"):
        read()
    (tmp_path / "slack-token").write_text("xoxb-1\n")
    assert read() == "xoxb-1"
    (tmp_path / "slack-token").write_text("xoxb-2\n")
    assert read() == "xoxb-2"


def test_check_counts_what_is_there_and_warns_of_what_is_missing(fleet: Write, tmp_path: Path) -> None:
    fleet("""
        targets: [{engine: vllm, addresses: ["a:1", "b:1"]}, {engine: vllm, file_sd: [missing.json]}]
        notifiers: [{name: ops, type: slack, channel: "#ops", token_env: NOT_SET_ANYWHERE}]
        """)
    good, *warnings = check_file(tmp_path / "fleet.yaml")
    assert good.startswith(f"{tmp_path / 'fleet.yaml'}: good: 2 targets, 0 models, ")
    assert any("missing.json" in w for w in warnings)
    assert any("NOT_SET_ANYWHERE is not set here" in w for w in warnings)


def test_check_finds_faults_in_rules_and_targets_at_once(fleet: Write, tmp_path: Path) -> None:
    fleet("""
        targets: [{engine: probe, urls: ["http://h/x"], labels: {model: m}}]
        thresholds: {nonsense: {value: 1}}
        """)
    with pytest.raises(ConfigErrors) as caught:
        check_file(tmp_path / "fleet.yaml")
    assert len(caught.value.errors) == 2


ELSEWHERE = "metrics: {query_url: 'http://mimir/prometheus'%s}\n"


@pytest.mark.parametrize(
    ("rules", "more", "warned"),
    [
        ("[{record: 'a:b', expr: up}, {alert: A, expr: 'a:b > 1'}]", "", True),
        (
            "[{record: 'a:b', expr: up}, {alert: A, expr: 'a:b > 1'}]",
            ", remote_write: {url: 'http://m', send: [raw]}",
            True,
        ),
        ("[{record: 'a:b', expr: up}, {alert: A, expr: 'a:b > 1'}]", ", remote_write: {url: 'http://m'}", False),
        ("[{record: 'a:b', expr: up}, {alert: A, expr: 'up > 1'}]", "", False),
    ],
)
def test_check_warns_of_recorded_series_that_the_server_never_gets(
    fleet: Write, tmp_path: Path, rules: str, more: str, warned: bool
) -> None:
    (tmp_path / "a.yml").write_text(f"groups: [{{name: g, rules: {rules}}}]\n")
    fleet(f"rules: [a.yml]\n{ELSEWHERE % more}")
    _, *warnings = check_file(tmp_path / "fleet.yaml")
    assert [w.partition("warning: ")[2] for w in warnings] == warned * [
        "metrics.query_url: rules read a:b: recorded here, and not sent there; add metrics.remote_write "
        "with send: [recorded], or load the recording rules into that server"
    ]


def test_check_warns_of_a_metrics_servers_secrets_that_are_not_there(fleet: Write, tmp_path: Path) -> None:
    secret = ", query: {authorization: {credentials_file: token}, tls: {ca_file: ca.pem}}"
    writes = ", remote_write: [{url: 'http://m/w', authorization: {credentials_env: NOT_SET_ANYWHERE}}]"
    fleet(f"rules: []\n{ELSEWHERE % (secret + writes)}")
    _, *warnings = check_file(tmp_path / "fleet.yaml")
    assert [w.partition("warning: ")[2] for w in warnings] == [
        f"metrics.query: {tmp_path / 'token'} does not exist",
        f"metrics.query: {tmp_path / 'ca.pem'} does not exist",
        "metrics.remote_write m/w: environment variable NOT_SET_ANYWHERE is not set here",
    ]


def test_a_rule_that_only_the_other_server_can_evaluate_is_no_warning(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: 'mad_over_time(x[5m]) > 1'}]}]\n")
    fleet(f"rules: [a.yml]\n{ELSEWHERE % ''}")
    assert len(check_file(tmp_path / "fleet.yaml")) == 1
