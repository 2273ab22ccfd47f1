"""Where alerts go, what holds them back, and what in a tree is hardly meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.routing.config import read_alertmanager, read_file
from alerts.routing.doubts import doubts
from alerts.routing.tree import InhibitRule, Routing

RECEIVERS = "receivers: [{name: ops}, {name: pager}, {name: gpu}]\n"
TREE = """\
global: {resolve_timeout: 5m, slack_api_url: 'http://slack'}
templates: ['*.tmpl']
route:
  receiver: ops
  group_by: [model, alertname]
  group_wait: 10s
  routes:
    - receiver: pager
      matchers: [severity="critical"]
      continue: true
      group_by: ['...']
      repeat_interval: 1h
    - receiver: gpu
      match_re: {team: gpu|node}
      mute_time_intervals: [night]
      routes:
        - matchers: [model=chat]
          group_wait: 1m
          active_time_intervals: [night]
receivers:
  - name: ops
    slack_configs: [{channel: '#a'}, {channel: '#b'}]
    email_configs: [{to: a@example.com}]
  - {name: pager}
  - {name: gpu}
mute_time_intervals:
  - {name: night, time_intervals: [{times: [{start_time: "00:00", end_time: "06:00"}]}]}
"""
NOON, MIDNIGHT = 12 * 3600.0, 0.0


def routing(text: str) -> Routing:
    return read_alertmanager(text, "am.yml")


def test_settings_come_from_above_but_for_time_intervals() -> None:
    found = routing(TREE)
    pager, gpu = found.root.routes
    (chat,) = gpu.routes
    assert [node.path for node in found.root.walk()] == [
        "route",
        "route.routes[0]",
        "route.routes[1]",
        "route.routes[1].routes[0]",
    ]
    assert (found.root.group_wait_s, found.root.group_interval_s, found.root.repeat_interval_s) == (10, 300, 14400)
    assert (pager.each_alert, pager.repeat_interval_s, pager.group_wait_s) == (True, 3600, 10)
    assert (chat.receiver, chat.group_by, chat.group_wait_s) == ("gpu", ("model", "alertname"), 60)
    assert (gpu.mute_intervals, chat.mute_intervals, chat.active_intervals) == (("night",), (), ("night",))
    assert found.receivers["ops"].kinds == ("email", "slack", "slack")
    assert chat.line == 17


@pytest.mark.parametrize(
    ("labels", "paths"),
    [
        ({}, ["route"]),
        ({"severity": "critical"}, ["route.routes[0]"]),
        ({"severity": "critical", "team": "gpu"}, ["route.routes[0]", "route.routes[1]"]),
        ({"team": "node", "model": "chat"}, ["route.routes[1].routes[0]"]),
        ({"team": "gpus"}, ["route"]),
    ],
)
def test_an_alert_takes_the_deepest_routes(labels: dict[str, str], paths: list[str]) -> None:
    assert [node.path for node in routing(TREE).root.find(labels)] == paths


def test_a_route_is_muted_in_its_intervals_and_outside_of_its_active_ones() -> None:
    found = routing(TREE)
    gpu = found.root.routes[1]
    assert found.held_back(gpu, MIDNIGHT) == "muted in the time interval night"
    assert found.held_back(gpu, NOON) == ""
    assert found.held_back(gpu.routes[0], NOON) == "active only in night"
    assert found.held_back(gpu.routes[0], MIDNIGHT) == ""
    assert found.held_back(found.root, MIDNIGHT) == ""


def inhibition(fields: str) -> InhibitRule:
    (rule,) = routing(f"route: {{receiver: ops}}\n{RECEIVERS}inhibit_rules: [{{{fields}}}]\n").inhibit_rules
    return rule


def test_an_alert_is_held_back_by_one_with_equal_labels() -> None:
    rule = inhibition("source_matchers: [alertname=NodeDown], target_match: {severity: warning}, equal: [node]")
    down, slow = {"alertname": "NodeDown", "node": "a"}, {"alertname": "Slow", "severity": "warning", "node": "a"}
    assert rule.inhibits(down, slow)
    assert not rule.inhibits(down, slow | {"node": "b"})
    assert not rule.inhibits(slow, slow)
    assert not rule.inhibits(down, slow | {"severity": "critical"})
    assert rule.inhibits({"alertname": "NodeDown"}, {"alertname": "Slow", "severity": "warning"}), "both lack the label"


def test_alerts_that_match_both_sides_do_not_hold_each_other_back() -> None:
    rule = inhibition("source_match_re: {severity: critical|warning}, target_matchers: [severity=warning]")
    first, second = {"severity": "warning", "n": "1"}, {"severity": "warning", "n": "2"}
    assert not rule.inhibits(first, second)
    assert rule.inhibits({"severity": "critical"}, first)


def tree(*routes: str) -> str:
    listed = "".join(f"    - {route}\n" for route in routes)
    return (
        f"route:\n  receiver: ops\n  routes:\n{listed}    - {{receiver: pager}}\n    - {{receiver: gpu}}\n{RECEIVERS}"
    )


TAKEN = "5: route.routes[1] gets no alert: route.routes[0] in line 4 takes each before it"


@pytest.mark.parametrize(
    ("routes", "sentences"),
    [
        (
            ("{matchers: [a=b]}", "{matchers: [a=b, c=d]}"),
            ["5: route.routes[1] gets no alert: route.routes[0] in line 4"],
        ),
        (("{matchers: [a=b], continue: true}", "{matchers: [a=b, c=d]}"), []),
        (("{matchers: [a=b, c=d]}", "{matchers: [a=b]}"), []),
        (
            ("{matchers: ['a=~b|c']}", "{matchers: [a=c]}"),
            ["5: route.routes[1] gets no alert: route.routes[0] in line 4"],
        ),
        (("{matchers: [a!=b]}", "{matchers: [a=b]}"), []),
        (
            ("{matchers: [a=b], routes: [{matchers: [a=c]}]}",),
            ['4: route.routes[0].routes[0] gets no alert: none has both a="b" and a="c"'],
        ),
        (
            ("{matchers: [a=b], routes: [{matchers: [a!=b]}]}",),
            ['4: route.routes[0].routes[0] gets no alert: none has both a="b" and a!="b"'],
        ),
    ],
)
def test_routes_that_no_alert_reaches_are_named(routes: tuple[str, ...], sentences: list[str]) -> None:
    found = [f"{doubt.line}: {doubt.sentence}" for doubt in doubts(routing(tree(*routes)))]
    # The last two routes have no matchers: the first of them takes all.
    count = len(routes)
    assert found.pop().startswith(f"{count + 5}: route.routes[{count + 1}] gets no alert: route.routes[{count}]")
    assert [sentence[: len(start)] for sentence, start in zip(found, sentences, strict=True)] == sentences


def test_wide_inhibitions_and_receivers_without_a_route_are_named() -> None:
    rules = "  - {equal: [model]}\n  - {source_matchers: [a=b], target_matchers: [c=d]}\n"
    text = f"route: {{receiver: ops}}\n{RECEIVERS}inhibit_rules:\n{rules}"
    assert [(doubt.line, doubt.sentence.partition(":")[0]) for doubt in doubts(routing(text))] == [
        (2, "receiver pager is named by no route"),
        (2, "receiver gpu is named by no route"),
        (4, "this inhibition has no source matchers"),
        (4, "this inhibition has no target matchers"),
        (5, "this inhibition has no equal labels"),
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"none\.yml: cannot be read: No such file or directory"):
        read_file(tmp_path / "none.yml")
    (tmp_path / "am.yml").write_bytes(b"\xff")
    with pytest.raises(RuleError, match=r"am\.yml: cannot be read: it is not UTF-8 text"):
        read_file(tmp_path / "am.yml")


def test_a_tree_that_is_too_deep_is_refused() -> None:
    nested = "routes: [{" * 60 + "receiver: ops" + "}]" * 60
    with pytest.raises(RuleError, match=r"am\.yml:1: .*(nested more than|levels deep)"):
        routing(f"route: {{receiver: ops, {nested}}}\n{RECEIVERS}")
