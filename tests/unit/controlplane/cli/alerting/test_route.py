"""The verb `alerts route`: what it prints about a tree of routes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.main import run

CONFIG = """\
route:
  receiver: ops
  group_by: [model, alertname]
  routes:
    - matchers: [severity="critical"]
      receiver: pager
      continue: true
      group_by: ['...']
    - matchers: [team=~"gpu|node"]
      receiver: gpu
      mute_time_intervals: [always]
receivers: [{name: ops}, {name: pager}, {name: gpu}]
inhibit_rules:
  - {source_matchers: [alertname=NodeDown], target_matchers: [severity=warning], equal: [node]}
time_intervals:
  - {name: always, time_intervals: [{times: [{start_time: "00:00", end_time: "24:00"}]}]}
"""
UNREACHABLE = CONFIG.replace("      continue: true\n", "").replace("team=~", "severity=critical,team=~")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = Path("am.yml")
    made.write_text(CONFIG)
    return made


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    assert run(["alerts", "route", "--alertmanager-config", "am.yml", *words]) == code
    return capsys.readouterr().out.splitlines()


def test_an_alert_is_shown_with_each_route_that_it_takes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "severity=critical", "team=gpu", "model=chat") == [
        "receiver pager, by route.routes[0] in line 5",
        '  group {model="chat", severity="critical", team="gpu"}: waits 30s, changes each 5m, repeats each 4h',
        "receiver gpu, by route.routes[1] in line 9",
        '  group {model="chat"}: waits 30s, changes each 5m, repeats each 4h',
        "  sends nothing now: muted in the time interval always",
    ]


def test_what_may_hold_an_alert_back_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "severity=warning", "node=a") == [
        "receiver ops, by route in line 2",
        "  group {}: waits 30s, changes each 5m, repeats each 4h",
        'held back while an alert {alertname="NodeDown"} fires with node="a" (inhibit_rules, line 14)',
    ]


def test_the_tree_is_shown_with_its_warnings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = ["{} → ops", '  {severity="critical"} → pager, continue', '  {team=~"gpu|node"} → gpu']
    assert shown(capsys, "--strict") == tree
    file.write_text(UNREACHABLE)
    taken = (
        "am.yml:8: warning: route.routes[1] gets no alert: route.routes[0] in line 5 takes each before it; set "
        "continue: true there, or move this route before it"
    )
    lines = ["{} → ops", '  {severity="critical"} → pager', '  {severity="critical",team=~"gpu|node"} → gpu', taken]
    assert shown(capsys) == lines
    assert shown(capsys, "--strict", code=1) == lines


def test_json_has_all_settings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (route,) = json.loads("\n".join(shown(capsys, "team=node", "-o", "json")))["routes"]
    assert route == {
        "path": "route.routes[1]",
        "line": 9,
        "matchers": ['team=~"gpu|node"'],
        "receiver": "gpu",
        "group_by": ["model", "alertname"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
        "continue": False,
        "mute_time_intervals": ["always"],
        "active_time_intervals": [],
        "escalation": [],
        "sends_to": [],
        "group": {},
        "held_back": "muted in the time interval always",
    }
    found = json.loads("\n".join(shown(capsys, "-o", "json")))
    assert [one["path"] for one in found["routes"]] == ["route", "route.routes[0]", "route.routes[1]"]
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (CONFIG.replace("receiver: pager", "receiver: pagr"), (), "am.yml:6: route.routes[0]: receiver pagr is not in"),
        (CONFIG, ("severity",), "severity: expected NAME=VALUE"),
        (CONFIG, ("=critical",), "=critical: expected NAME=VALUE"),
        (CONFIG, ("severity=~critical",), "severity=~critical: expected NAME=VALUE"),
        (CONFIG, ("severity=critical,team=a",), "severity=critical,team=a: expected NAME=VALUE"),
        (CONFIG, ("severity=critical", "severity=info"), "label severity is given twice"),
        (None, (), "am.yml: cannot be read: No such file or directory"),
    ],
)
def test_faults_are_told_and_2(
    file: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: tuple[str, ...], said: str
) -> None:
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert run(["alerts", "route", "--alertmanager-config", "am.yml", *words]) == 2
    assert said in capsys.readouterr().err


ROUTE = {
    "path": "route.routes[0]",
    "line": 0,
    "matchers": ['team="a"'],
    "receiver": "ops",
    "group_by": ["model"],
    "group_wait": "10s",
    "group_interval": "1m",
    "repeat_interval": "4h",
    "continue": False,
    "mute_time_intervals": [],
    "active_time_intervals": [],
    "escalation": [{"after": "15m", "receiver": "pager"}],
    "group": {"model": "chat"},
    "held_back": "",
    "sends_to": [
        {"notifier": "ops", "after": "", "on_call": [], "held_back": ""},
        {"notifier": "pager", "after": "15m", "on_call": ["ann"], "held_back": ""},
        {"notifier": "log", "after": "15m", "on_call": [], "held_back": "ann is on call in primary"},
    ],
}


def test_a_control_plane_is_asked_without_a_file(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    silence = {"id": "s1", "created_by": "ann", "comment": "new driver", "ends_at": "2026-01-31T12:34:56.000Z"}
    found = {
        "labels": {"team": "a", "model": "chat"},
        "routes": [ROUTE],
        "inhibited_by": [],
        "silenced_by": [silence],
        "warnings": [],
    }
    current.replies["GET /cp/v1/alerts/route"] = (200, found)
    assert run(["alerts", "route", "team=a", "model=chat"]) == 0
    assert current.requests[-1].query == {"label": ["team=a", "model=chat"]}
    assert capsys.readouterr().out.splitlines() == [
        "receiver ops, by route.routes[0]",
        '  group {model="chat"}: waits 10s, changes each 1m, repeats each 4h',
        "  sends to ops",
        "  sends to pager (ann), 15m after the group opened",
        "  sends to log, 15m after the group opened: not now, because ann is on call in primary",
        "held back by the silence s1 of ann until 2026-01-31 12:34:56Z: new driver",
    ]


def test_the_tree_of_a_control_plane_and_its_warnings(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    doubt = {"line": 0, "sentence": "route.routes[0] gets no alert"}
    current.replies["GET /cp/v1/alerts/route"] = (
        200,
        {"labels": {}, "routes": [ROUTE], "inhibited_by": [], "warnings": [doubt]},
    )
    assert run(["alerts", "route", "--strict"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        '  {team="a"} → ops',
        "warning: route.routes[0] gets no alert",
    ]


def test_what_nobody_gets_is_told(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"labels": {"severity": "none"}, "routes": [], "inhibited_by": [], "warnings": []}
    current.replies["GET /cp/v1/alerts/route"] = (200, nothing)
    assert run(["alerts", "route", "severity=none"]) == 0
    assert "nobody gets it: its severity is none" in capsys.readouterr().out


def test_a_file_and_a_control_plane_are_not_both_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "route", "--alertmanager-config", "am.yml", "--url", "http://127.0.0.1:1"]) == 2
    assert "give either --alertmanager-config or a control plane" in capsys.readouterr().err


def test_a_value_may_be_quoted_as_alertmanager_writes_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["alerts", "route", "--alertmanager-config", "am.yml", "-o", "json"]
    assert run([*asked, "severity=critical"]) == 0
    plain = capsys.readouterr().out
    assert run([*asked, 'severity="critical"']) == 0
    assert capsys.readouterr().out == plain
