"""What `alerts explain` prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.cli.main import run

ID = "9d08cd7da24ac3ba"
LEG: dict[str, Any] = {
    "stage": "silence",
    "sentence": "silenced by s1 of ann: works",
    "route": "route.routes[0]",
    "line": 7,
    "receiver": "team",
    "notifier": "pager",
    "group": "pager{alertname='Slow'}",
    "mutes": [
        {"stage": "silence", "sentence": "silenced by s1 of ann: works", "by": ["s1"]},
        {"stage": "acknowledgement", "sentence": "acknowledged by bob", "by": ["bob"]},
    ],
    "due_at": None,
    "delivery": None,
}
SENT: dict[str, Any] = {
    **LEG,
    "stage": "sent",
    "sentence": "the last message has it; it is repeated after 4h",
    "route": "route",
    "line": 0,
    "notifier": "ops",
    "group": "ops{alertname='Slow'}",
    "mutes": [],
    "due_at": "2026-01-31T16:34:56.000Z",
    "delivery": {
        "id": "x",
        "status": "sent",
        "attempts": 1,
        "at": "2026-01-31T12:34:56.000Z",
        "error": "as plain",
    },
}
FOUND: dict[str, Any] = {
    "alert": {
        "name": "Slow",
        "state": "firing",
        "fired_at": "2026-01-31T12:34:46.000Z",
        "active_at": "2026-01-31T12:30:00.000Z",
        "resolved_at": None,
        "labels": {"model": "chat", "alertname": "Slow\x1b[2J"},
    },
    "at": "2026-01-31T12:40:00.000Z",
    "legs": [SENT, LEG],
    "changes": [],
}


def test_each_leg_with_its_stage_its_reasons_and_its_delivery(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies[f"GET /cp/v1/alerts/{ID}/explanation"] = (200, FOUND)
    assert run(["alerts", "explain", ID]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Slow: firing, since 2026-01-31 12:34:46Z",
        "labels: alertname=Slow\\x1b[2J, model=chat",
        "",
        "ops by route: SENT",
        "  the last message has it; it is repeated after 4h",
        "  group: ops{alertname='Slow'}",
        "  last message: sent at 2026-01-31 12:34:56Z: as plain",
        "  next message: not before 2026-01-31 16:34:56Z",
        "",
        "pager by route.routes[0] (line 7): SILENCE",
        "  silenced by s1 of ann: works",
        "  also acknowledgement: acknowledged by bob",
        "  group: pager{alertname='Slow'}",
        "",
        "Around its start:",
        "no rollout, no change of the configuration, no related alert, no change of a target or a GPU",
    ]


def test_a_message_that_is_tried_again_says_how_often_and_when(
    current: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = {"status": "retrying", "attempts": 9, "error": "HTTP 503", "next_at": "2026-01-31T12:44:56.000Z"}
    leg = {**SENT, "stage": "underway", "delivery": {**SENT["delivery"], **tried}}
    current.replies[f"GET /cp/v1/alerts/{ID}/explanation"] = (200, {**FOUND, "legs": [leg]})
    assert run(["alerts", "explain", ID]) == 0
    told = "retrying since 2026-01-31 12:34:56Z, 9 attempts, the next one at 2026-01-31 12:44:56Z: HTTP 503"
    assert f"  last message: {told}" in capsys.readouterr().out.splitlines()


def test_an_alert_that_is_over_has_both_its_times(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    over = {**FOUND["alert"], "state": "resolved", "resolved_at": "2026-01-31T12:38:00.000Z"}
    current.replies[f"GET /cp/v1/alerts/{ID}/explanation"] = (200, {**FOUND, "alert": over})
    assert run(["alerts", "explain", ID]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "Slow: resolved, fired from 2026-01-31 12:34:46Z to 2026-01-31 12:38:00Z"


def test_changes_around_its_start_and_json(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    change = {"at": "2026-01-31T12:34:00.000Z", "kind": "audit", "subject": "fleet/t", "ref": "ann", "sentence": "x"}
    change["what"] = "config.load"
    nobody = {**LEG, "stage": "unrouted", "route": "", "receiver": "", "notifier": "", "group": "", "mutes": []}
    current.replies[f"GET /cp/v1/alerts/{ID}/explanation"] = (200, {**FOUND, "legs": [nobody], "changes": [change]})
    assert run(["alerts", "explain", ID]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "nobody: UNROUTED" in out
    assert out[-1].split() == ["2026-01-31", "12:34:00Z", "config.load", "fleet/t", "x,", "by", "ann"]
    assert run(["alerts", "explain", ID, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["legs"][0]["stage"] == "unrouted"
