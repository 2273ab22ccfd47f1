"""What the command line says of alerts."""

from __future__ import annotations

from typing import Any

import pytest

from alerts.routing.matchers import parse_matchers
from controlplane.cli.main import run
from controlplane.cli.screens.watch import _change, _kept_back, _print_alert, _told


def shown(**fields: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "name": "Hot",
        "state": "firing",
        "annotations": {"summary": "91 °C"},
        "labels": {"gpu": "0"},
        "value": 91.0,
        "runbook": None,
        "simulated": False,
        "unknown_since": None,
        "away": [],
        "history": [],
    }
    return whole | fields


def test_what_is_over_is_told_in_the_past() -> None:
    assert [_told(shown(state=state), "summary") for state in ("firing", "pending", "resolved")] == [
        "91 °C",
        "91 °C",
        "was: 91 °C",
    ]
    assert _told(shown(state="resolved"), "description") == ""


def test_a_change_of_knowledge_is_no_change_of_state() -> None:
    assert _change({"before": "pending", "after": "firing"}) == "pending -> firing"
    assert _change({"before": "firing", "after": "firing"}) == "firing"


def test_an_unknown_alert_says_since_when_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    _print_alert(shown(unknown_since="2027-01-15T08:00:00.000Z", away=["dcgm/n1:9400", "nvml/n1"]))
    told = capsys.readouterr().out
    assert (
        "unknown since 2027-01-15 08:00:00Z: no data from dcgm/n1:9400, nvml/n1; the alert keeps its state until"
        in told
    )


IDS = ["0123456789abcdef", "01234567a9abcdef", "9d08cd7da24ac3ba"]


def alert(identifier: str, **fields: Any) -> dict[str, Any]:
    return shown(
        fingerprint=identifier,
        severity="warning",
        fired_at="2027-01-15T08:00:00.000Z",
        active_at="2027-01-15T08:00:00.000Z",
        resolved_at=None,
        **fields,
    )


def test_ids_are_as_short_as_they_can_be_and_taken_so(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    items = [alert(i) for i in IDS]
    current.replies |= {"GET /cp/v1/alerts": (200, {"items": items})}
    current.replies |= {f"GET /cp/v1/alerts/{item['fingerprint']}": (200, item) for item in items}
    assert run(["alerts", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [i[:9] for i in IDS]
    assert run(["alerts", "show", "9d08"]) == 0
    assert current.requests[-1].path == "/cp/v1/alerts/9d08cd7da24ac3ba"
    assert run(["alerts", "show", "01234567"]) == 2
    assert "2 alerts have an id that begins with 01234567; name one by its id" in capsys.readouterr().err
    assert run(["alerts", "show", "9d0"]) == 2  # three characters are no id yet
    assert "no alert is called 9d0" in capsys.readouterr().err


def test_alerts_are_chosen_by_their_labels(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies |= {"GET /cp/v1/alerts": (200, {"items": [alert(IDS[0])]})}
    assert run(["alerts", "list", "model=chat", "node=~gpu-1.*", "--state", "firing"]) == 0
    asked = current.requests[-1].query
    assert (asked["label"], asked["state"]) == (['model="chat",node=~"gpu-1.*"'], ["firing"])
    wanted = ["node=~gpu-1{1,2}", 'path=a,"b"\\c', 'quoted="a,b"', "pod!="]
    assert run(["alerts", "list", *wanted]) == 0
    (label,) = current.requests[-1].query["label"]
    values = [(one.name, one.op.value, one.value) for one in parse_matchers(label)]
    assert values == [
        ("node", "=~", "gpu-1{1,2}"),
        ("path", "=", 'a,"b"\\c'),
        ("quoted", "=", "a,b"),
        ("pod", "!=", ""),
    ]
    current.replies |= {"GET /cp/v1/alerts": (200, {"items": []})}
    assert run(["alerts", "list", "model=chat"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no active alert has labels that match model=chat"
    assert run(["alerts", "list"]) == 0
    assert capsys.readouterr().out.strip() == "no alerts: every rule that has data is inactive"


def test_what_is_for_machines_stands_last(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    watchdog = alert(IDS[0]) | {"name": "Watchdog", "severity": "none"}
    current.replies |= {"GET /cp/v1/alerts": (200, {"items": [watchdog, alert(IDS[2])]})}
    assert run(["alerts", "list"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["Hot", "Watchdog"]


def test_the_history_tells_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    event = {
        "at": "2027-01-15T08:00:00.000Z",
        "before": "firing",
        "after": "resolved",
        "sentence": "Hot went from firing to inactive: over after firing for 30s (was: 91 °C)",
    }
    _print_alert(shown(history=[event]))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("2027"))
    assert line == "2027-01-15 08:00:00Z  firing -> resolved  over after firing for 30s (was: 91 °C)"


def test_a_flapping_alert_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    alert = shown(flapping="flapping: 7 changes in the last 5 minutes", held_back=[])
    assert _kept_back(alert) == ", flapping"
    _print_alert(alert)
    assert "flapping: 7 changes in the last 5 minutes\n" in capsys.readouterr().out
