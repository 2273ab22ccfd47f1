"""Rotas over HTTP and in the console."""

from __future__ import annotations

from typing import Any

import httpx

from alerts.duty import Roster, Shift
from controlplane.fleet.rota.calendar import Occurrence
from controlplane.fleet.rota.desk import RotaState
from tests.unit.controlplane.api.conftest import NOW

DAY = 86_400.0


async def test_who_is_on_call_now_and_next_and_the_gaps(rig: Any, viewer: httpx.AsyncClient) -> None:
    shifts = (Shift(NOW - DAY, NOW + DAY, ("ann",)), Shift(NOW + 2 * DAY, NOW + 40 * DAY, ("bo", "cy")))
    unknown = (Occurrence(NOW, NOW + DAY, "Zoe", ()),)
    rig.rotas = {
        "primary": RotaState(
            "primary", "url", "Europe/Berlin", "ops", Roster(shifts, NOW + 35 * DAY), NOW - 60, "no answer", unknown
        ),
        "new": RotaState("new", "file", "UTC", "ops"),
    }
    first, second = (await viewer.get("/cp/v1/rotas")).json()["items"]
    assert first == {
        "name": "primary",
        "source": "url",
        "time_zone": "Europe/Berlin",
        "fallback": "ops",
        "on_call": ["ann"],
        "until": "2027-01-16T08:00:00.000Z",
        "next": {"people": ["bo", "cy"], "starts_at": "2027-01-17T08:00:00.000Z", "ends_at": None},
        "gaps": [{"people": [], "starts_at": "2027-01-16T08:00:00.000Z", "ends_at": "2027-01-17T08:00:00.000Z"}],
        "unknown": [{"summary": "Zoe", "starts_at": "2027-01-15T08:00:00.000Z", "ends_at": "2027-01-16T08:00:00.000Z"}],
        "fetched_at": "2027-01-15T07:59:00.000Z",
        "age_seconds": 60.0,
        "too_old": False,
        "fault": "no answer",
    }
    assert (second["on_call"], second["until"], second["next"], second["fetched_at"]) == ([], None, None, None)
    assert [gap["ends_at"] for gap in second["gaps"]] == ["2027-01-29T08:00:00.000Z"]


async def test_a_calendar_is_too_old_after_an_hour_without_a_good_reading(rig: Any, viewer: httpx.AsyncClient) -> None:
    rig.rotas = {
        "fresh": RotaState("fresh", "url", "UTC", "ops", fetched_at=NOW - 3600),
        "old": RotaState("old", "url", "UTC", "ops", fetched_at=NOW - 90_000),
        "awaited": RotaState("awaited", "url", "UTC", "ops", awaited_since=NOW - 3601),
    }
    items = (await viewer.get("/cp/v1/rotas")).json()["items"]
    assert [(one["age_seconds"], one["too_old"]) for one in items] == [(3600, False), (90_000, True), (None, True)]


async def test_metrics_of_calendars(rig: Any, viewer: httpx.AsyncClient) -> None:
    def rota(name: str, *shifts: Shift) -> RotaState:
        return RotaState(name, "url", "UTC", "ops", Roster(shifts, NOW + 35 * DAY), NOW - 60, awaited_since=NOW - DAY)

    both = (Shift(NOW - DAY, NOW + 60, ("ann", "bo")), Shift(NOW + DAY, NOW + 2 * DAY, ("bo",)))
    rig.rotas = {
        "primary": rota("primary", *both),
        "over": rota("over", Shift(NOW - DAY, NOW, ("ann",))),
        "empty": rota("empty"),
        "new": RotaState("new", "file", "UTC", "ops", awaited_since=NOW - 30),
    }
    text = (await viewer.get("/metrics")).text
    assert [line for line in text.splitlines() if line.startswith("controlplane_rota")] == [
        'controlplane_rota_calendar_age_seconds{rota="primary"} 60.0',
        'controlplane_rota_calendar_age_seconds{rota="over"} 60.0',
        'controlplane_rota_calendar_age_seconds{rota="empty"} 60.0',
        'controlplane_rota_calendar_age_seconds{rota="new"} 30.0',
        'controlplane_rota_on_call{rota="primary"} 2.0',
        'controlplane_rota_on_call{rota="over"} 0.0',
        'controlplane_rota_on_call{rota="empty"} 0.0',
        'controlplane_rota_shifts_left_seconds{rota="primary"} 172800.0',
        'controlplane_rota_shifts_left_seconds{rota="over"} 0.0',
        'controlplane_rota_shifts_left_seconds{rota="empty"} 0.0',
    ]
    assert 'controlplane_collected{part="rotas"} 1.0' in text
