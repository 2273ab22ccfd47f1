"""The verb `slo`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.cli.main import run

DAY_S = 86400.0
BURNING = {
    "model": "chat",
    "name": "up",
    "objective_percent": 99.9,
    "window_seconds": 30 * DAY_S,
    "meaning": "answered without a failure",
    "metric": "availability",
    "below_seconds": None,
    "state": "burning",
    "budget_remaining_ratio": 0.62,
    "error_ratio": 0.00038,
    "burn_rate": 4.2,
    "observed_seconds": 9 * DAY_S,
    "exhausted_at": "2026-11-30T14:02:11.000Z",
}
WHOLE = {**BURNING, "name": "whole", "state": "good", "observed_seconds": 29.9 * DAY_S, "exhausted_at": None}
UNKNOWN = {
    **BURNING,
    "name": "new",
    "state": "unknown",
    "budget_remaining_ratio": None,
    "burn_rate": None,
    "observed_seconds": 0.0,
    "exhausted_at": None,
}
HEADER = "MODEL SLO OBJECTIVE WINDOW STATE BUDGET LEFT BURN RATE SPENT AT GOOD REQUEST"


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_each_slo_is_a_row_and_a_short_history_is_said(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/slos"] = (200, {"items": [BURNING, WHOLE, UNKNOWN]})
    assert run(["slo"]) == 0
    assert shown(capsys) == [
        HEADER,
        "chat up 99.9% 30d burning 62% (over the last 9d) 4.2 2026-11-30 14:02:11Z answered without a failure",
        "chat whole 99.9% 30d good 62% 4.2 - answered without a failure",
        "chat new 99.9% 30d unknown - - - answered without a failure",
    ]


def test_without_slos_it_says_where_they_are_set(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/slos"] = (200, {"items": []})
    assert run(["slo"]) == 0
    assert shown(capsys) == ["no SLOs in fleet.yaml (models[].slos)"]


def test_programs_get_json(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/slos"] = (200, {"items": [BURNING]})
    assert run(["slo", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [BURNING]
