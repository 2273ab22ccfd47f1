"""Rules, routes and notifiers as a configuration names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.errors import DeliveryFailed
from alerts.no_data import Action, NoData
from alerts.notify.log import LogNotifier
from alerts.notify.slack.notifier import SlackNotifier
from alerts.packs import expanded, rule_files
from controlplane.app.notifiers import notifier_recipes
from controlplane.app.rules import describe_rules, fleet_rules
from controlplane.config.loader import LoadedFleet
from controlplane.config.notifiers import SlackSection
from controlplane.errors import ConfigErrors
from controlplane.fleet.alerting.route import notice_receiver
from controlplane.fleet.alerting.routing import routing_of
from controlplane.ruletest.lint import Expressions

Write = Callable[[str], LoadedFleet]


def test_the_builtin_packs_are_the_default(fleet: Write) -> None:
    packs = set(expanded(["builtin:llm", "builtin:gpu"])) - {"builtin:slo"}  # there are no SLOs
    assert {g.file for g in fleet_rules(fleet(""))} == packs


def test_thresholds_reach_the_rules(fleet: Write) -> None:
    loaded = fleet("rules: [builtin:gpu]\nthresholds: {temperature: {value: 70, for: 7s}}\n")
    rule = next(r for g in fleet_rules(loaded) for r in g.rules if r.name == "GPUTemperatureHigh")
    assert "70" in rule.expr
    assert rule.for_s == 7  # type: ignore[union-attr]  # an alerting rule


def test_policies_for_missing_data_reach_the_rules(fleet: Write) -> None:
    loaded = fleet("rules: [builtin:gpu]\nno_data: {GPUTemperatureHigh:  fire   after 600s}\n")
    rule = next(r for g in fleet_rules(loaded) for r in g.rules if r.name == "GPUTemperatureHigh")
    assert rule.no_data == NoData(Action.FIRE, 600.0)  # type: ignore[union-attr]  # an alerting rule


def test_a_fault_in_policies_for_missing_data_has_its_line(fleet: Write) -> None:
    with pytest.raises(ConfigErrors, match="did you mean 'GPUTemperatureHigh'") as caught:
        fleet_rules(fleet("evaluation_interval: 5s\nno_data: {GPUTemperatureHig: keep}\n"))
    assert (caught.value.errors[0].line, caught.value.errors[0].field) == (3, "no_data.GPUTemperatureHig")
    for text, said in (("page", "expected keep, fire, resolve"), ("keep after 5m", "keep has no time")):
        with pytest.raises(ConfigErrors, match=f"no_data.GPULost.*{said}"):
            fleet(f"no_data: {{GPULost: {text}}}\n")


def test_an_absolute_glob_names_its_files(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n")
    loaded = fleet(f"rules: ['{tmp_path}/*.yml']\n")
    assert [g.name for g in fleet_rules(loaded)] == ["g"]
    assert rule_files(loaded.fleet.rules, tmp_path) == [tmp_path / "mine.yml"]


def test_a_fault_in_thresholds_has_its_line(fleet: Write) -> None:
    with pytest.raises(ConfigErrors) as caught:
        fleet_rules(fleet("evaluation_interval: 5s\nthresholds: {nope: {value: 1}}\n"))
    assert (caught.value.errors[0].line, caught.value.errors[0].field) == (3, "thresholds.nope")


def test_an_unknown_threshold_names_the_known_ones(fleet: Write) -> None:
    with pytest.raises(ConfigErrors, match=r"temprature.*temperature"):
        fleet_rules(fleet("thresholds: {temprature: {value: 70}}\n"))


def test_a_users_own_files_are_relative_to_the_configuration(fleet: Write, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "mine.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]\n")
    groups = fleet_rules(fleet("rules: [rules/*.yml]\n"))
    assert [(g.name, [r.name for r in g.rules]) for g in groups] == [("g", ["A"])]


def test_an_expression_that_would_overflow_the_parser_is_refused_before_it(tmp_path: Path) -> None:
    (tmp_path / "deep.yml").write_text(f"groups: [{{name: g, rules: [{{alert: A, expr: '{'(' * 20000}'}}]}}]\n")
    with pytest.raises(ConfigErrors, match="more than 1500 operators and brackets"):
        describe_rules([tmp_path / "deep.yml"])


def test_the_packs_can_all_be_evaluated() -> None:
    expressions = Expressions()
    assert {expressions.fault(rule.expr) for group in describe_rules([]) for rule in group.rules} == {""}


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
    made = {name: recipe.made() for name, recipe in notifier_recipes(loaded).items()}
    assert {name: type(n) for name, n in made.items()} == {"log": LogNotifier, "ops": SlackNotifier}
    route = routing_of(loaded.fleet).root
    assert (route.receiver, route.group_by, route.group_wait_s) == ("ops", ("alertname",), 5)


def test_without_a_route_alerts_go_to_the_only_notifier_or_to_the_log(fleet: Write) -> None:
    assert notice_receiver(fleet("")) == "log"
    assert notice_receiver(fleet("notifiers: [{name: file, type: log}]\n")) == "file"
    assert notice_receiver(fleet("notifiers: [{name: a, type: log}, {name: b, type: log}]\n")) == "log"


async def test_a_slack_token_is_read_at_each_send_and_its_absence_is_plain(fleet: Write, tmp_path: Path) -> None:
    from controlplane.app.slack_token import bot_token

    loaded = fleet('notifiers: [{name: ops, type: slack, channel: "#ops", token_file: slack-token}]\n')
    section = loaded.fleet.notifiers[0]
    assert isinstance(section, SlackSection)
    read = bot_token(section)
    with pytest.raises(DeliveryFailed, match="slack-token cannot be read"):
        read()
    (tmp_path / "slack-token").write_text("\n")
    with pytest.raises(DeliveryFailed, match="is not set or empty"):
        read()
    (tmp_path / "slack-token").write_text("xoxb-1\n")
    assert read() == "xoxb-1"
    (tmp_path / "slack-token").write_text("xoxb-2\n")
    assert read() == "xoxb-2"
    (tmp_path / "slack-token").unlink()
    (tmp_path / "slack-token").symlink_to("/dev/zero")
    with pytest.raises(DeliveryFailed, match="slack-token cannot be read: it is no regular file"):
        read()  # a device has no end
