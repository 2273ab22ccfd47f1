"""What `alerts rota` prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.cli.main import run

ROTA = {
    "name": "primary",
    "source": "url",
    "time_zone": "UTC",
    "fallback": "ops",
    "on_call": ["ann", "bo"],
    "until": "2026-01-31T12:00:00.000Z",
    "next": {"people": ["cy"], "starts_at": "2026-02-01T12:00:00.000Z", "ends_at": None},
    "gaps": [{"people": [], "starts_at": "2026-01-31T12:00:00.000Z", "ends_at": "2026-02-01T12:00:00.000Z"}],
    "unknown": [
        {"summary": "Zoe\x1b[2J", "starts_at": "2026-01-31T12:00:00.000Z", "ends_at": "2026-01-31T13:00:00.000Z"}
    ],
    "fetched_at": "2026-01-30T12:00:00.000Z",
    "age_seconds": 7200.0,
    "too_old": True,
    "fault": "calendar.example answered 500; check the address",
}
EMPTY = {**ROTA, "name": "new", "on_call": [], "until": None, "next": None, "gaps": [], "unknown": []}
EMPTY |= {"fault": None, "too_old": False}


def test_who_is_on_call_now_and_next_and_what_is_wrong(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/rotas"] = (
        200,
        {"items": [ROTA, {**EMPTY, "age_seconds": None}, {**EMPTY, "age_seconds": 61.0}]},
    )
    assert run(["alerts", "rota"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "primary: ann, bo, until 2026-01-31 12:00:00Z",
        "  next: cy, from 2026-02-01 12:00:00Z",
        "  nobody is on call: from 2026-01-31 12:00:00Z to 2026-02-01 12:00:00Z",
        "  names nobody in people: 'Zoe\\x1b[2J' of 2026-01-31 12:00:00Z",
        "  calendar: last read 2 h ago, at 2026-01-30 12:00:00Z; shifts that changed since then are not known",
        "  cannot be read: calendar.example answered 500; check the address",
        "new: nobody; ops gets its messages",
        "  calendar: never read",
        "new: nobody; ops gets its messages",
        "  calendar: last read 1 min 1 s ago, at 2026-01-30 12:00:00Z",
    ]


def test_one_rota_by_its_name(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/rotas"] = (200, {"items": [ROTA, EMPTY]})
    assert run(["alerts", "rota", "new", "-o", "json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["new"]
    assert run(["alerts", "rota", "old"]) == 2
    assert "no rota is called old; those of fleet.yaml are primary, new" in capsys.readouterr().err
    current.replies["GET /cp/v1/rotas"] = (200, {"items": []})
    assert run(["alerts", "rota", "old"]) == 2
    assert "no rota is called old; fleet.yaml declares none under `rotas:`" in capsys.readouterr().err
