"""What operators ask of the control plane itself: its version, what happened, its log, a file against what runs."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from alerts.interfaces import AlertInstance, AlertState, Transition
from collectors.samples import labels_of
from controlplane.access.roles import Role
from controlplane.clock.calendar import Calendar, Timetable
from controlplane.fleet.log_ring import MAX_LINE, LogRing
from controlplane.fleet.schedules import schedule_views
from controlplane.store.schedules import ScheduleState

NOW = 1_800_000_000.0


def fire(rig: Any, name: str, at: float) -> None:
    alert = AlertInstance("r", labels_of({"alertname": name}), (), AlertState.FIRING, 1.0, at, at, None, None)
    rig.alert_log.record(name, [alert], [Transition(alert, AlertState.PENDING, AlertState.FIRING, at, f"{name} fires")])


async def get(rig: Any, path: str, role: Role = Role.OPERATOR) -> Any:
    async with rig.client(role) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_who_answers_is_said(rig: Any) -> None:
    assert await get(rig, "/cp/v1/version", Role.VIEWER) == {
        "version": "0.1.0",
        "fleet": "prod",
        "observe_only": False,
        "started_at": "2027-01-15T07:00:00.000Z",
    }


async def test_what_runs_by_the_calendar_is_listed_and_measured(rig: Any) -> None:
    daily = Timetable(Calendar("0 12 * * *", "Europe/Berlin", shift_s=60))
    weekly = Timetable(Calendar("0 8 * * mon"), 3600)
    failed = ScheduleState("report", str(weekly), NOW, NOW - 60, NOW - 59, NOW - 58, "failed", "No: room", 5, 2, 1)
    rig.schedules = schedule_views({"report": weekly, "cleaning": daily}, {"report": failed, "gone": failed}, NOW)
    assert await get(rig, "/cp/v1/schedules", Role.VIEWER) == {
        "items": [
            {
                "name": "cleaning",
                "cron": "0 12 * * *",
                "timezone": "Europe/Berlin",
                "shift_seconds": 60.0,
                "catch_up_seconds": 86400.0,
                "next_at": "2027-01-15T11:01:00.000Z",
                "last": None,
                "runs": 0,
                "failures": 0,
                "missed": 0,
            },
            {
                "name": "report",
                "cron": "0 8 * * mon",
                "timezone": "UTC",
                "shift_seconds": 0.0,
                "catch_up_seconds": 3600.0,
                "next_at": "2027-01-18T08:00:00.000Z",
                "last": {
                    "due_at": "2027-01-15T07:59:00.000Z",
                    "started_at": "2027-01-15T07:59:01.000Z",
                    "finished_at": "2027-01-15T07:59:02.000Z",
                    "outcome": "failed",
                    "error": "No: room",
                },
                "runs": 5,
                "failures": 2,
                "missed": 1,
            },
        ]
    }
    async with rig.client() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    assert {line for line in lines if line.startswith("controlplane_schedule_")} == {
        'controlplane_schedule_failed{schedule="report"} 1.0',
        'controlplane_schedule_runs_total{schedule="cleaning"} 0.0',
        'controlplane_schedule_runs_total{schedule="report"} 5.0',
        'controlplane_schedule_failures_total{schedule="cleaning"} 0.0',
        'controlplane_schedule_failures_total{schedule="report"} 2.0',
        'controlplane_schedule_missed_total{schedule="cleaning"} 0.0',
        'controlplane_schedule_missed_total{schedule="report"} 1.0',
    }


async def test_history_is_one_list_by_time_and_a_rollout_is_told_once(rig: Any) -> None:
    fire(rig, "Hot", NOW - 50)
    await rig.rollouts.start("chat", "v2", actor="alice")
    page = await get(rig, "/cp/v1/history?kind=alert&kind=rollout&kind=audit")
    told = [(i["kind"], i["subject"], i["what"], i["ref"]) for i in page["items"] if i["what"] != "token.create"]
    assert [t[:3] for t in told] == [("alert", "Hot", "firing"), ("rollout", "chat", "planned")]
    acts = (await get(rig, "/cp/v1/history?kind=audit"))["items"]
    assert [(i["what"], i["ref"]) for i in acts][-1] == ("rollout.promote", "alice")
    assert {i["what"] for i in acts[:-1]} == {"token.create"}


async def test_a_follower_gets_each_thing_once_and_misses_none(rig: Any) -> None:
    fire(rig, "First", NOW - 50)
    page = await get(rig, "/cp/v1/history?limit=1&kind=alert")
    assert [i["subject"] for i in page["items"]] == ["First"]
    for number in range(5):
        fire(rig, f"A{number}", NOW + number)
    await rig.rollouts.start("chat", "v2", actor="alice")
    seen: list[str] = []
    for _ in range(5):
        page = await get(rig, f"/cp/v1/history?limit=2&after={page['next']}")
        seen += [i["subject"] for i in page["items"]]
    assert sorted(seen) == ["A0", "A1", "A2", "A3", "A4", "chat"]


async def test_who_did_what_is_for_operators(rig: Any) -> None:
    fire(rig, "Hot", NOW)
    everything = await get(rig, "/cp/v1/history", Role.VIEWER)
    assert {i["kind"] for i in everything["items"]} == {"alert"}
    async with rig.client(Role.VIEWER) as client:
        assert (await client.get("/cp/v1/history?kind=audit")).status_code == 403


@pytest.mark.parametrize("query", ["after=1.2", "after=x.y.z", "limit=0", "limit=1001", "kind=other", "after=-1.0.0"])
async def test_a_bad_question_is_422(rig: Any, query: str) -> None:
    async with rig.client(Role.OPERATOR) as client:
        assert (await client.get(f"/cp/v1/history?{query}")).status_code in (400, 422)


async def test_an_empty_history_has_a_place_to_go_on_from(rig: Any) -> None:
    assert await get(rig, "/cp/v1/history?kind=alert") == {"items": [], "next": f"0.0.{len(Role)}"}


def logger(ring: LogRing) -> logging.Logger:
    made = logging.Logger("app", logging.DEBUG)
    made.addHandler(ring)
    return made


async def test_the_logs_last_lines_are_told_to_operators(rig: Any) -> None:
    log = logger(rig.log)
    log.info("listening on %s", "here")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("it failed")
    items = (await get(rig, "/cp/v1/logs"))["items"]
    assert [(i["level"], i["logger"], i["message"].splitlines()[0]) for i in items] == [
        ("info", "app", "listening on here"),
        ("error", "app", "it failed"),
    ]
    assert items[1]["message"].endswith("ValueError: bad")
    assert [i["level"] for i in (await get(rig, "/cp/v1/logs?level=warning"))["items"]] == ["error"]
    assert [i["level"] for i in (await get(rig, f"/cp/v1/logs?after={items[0]['id']}"))["items"]] == ["error"]
    async with rig.client(Role.VIEWER) as client:
        assert (await client.get("/cp/v1/logs")).status_code == 403


def test_the_ring_is_bounded_in_lines_and_in_each_lines_length() -> None:
    ring = LogRing(NOW, kept=3)
    log = logger(ring)
    for number in range(5):
        log.info("%d", number)
    assert [line.message for line in ring.lines(None, 10, logging.DEBUG)] == ["2", "3", "4"]
    assert [line.message for line in ring.lines(None, 2, logging.DEBUG)] == ["3", "4"]
    log.info("x" * 10**6)
    assert len(ring.lines(None, 1, logging.DEBUG)[0].message) == MAX_LINE + 1


@pytest.mark.parametrize("restarted_at", [NOW + 60, NOW - 3600], ids=["later", "with the clock set back"])
def test_who_follows_across_a_restart_gets_the_new_process_from_its_first_line(restarted_at: float) -> None:
    old, new = LogRing(NOW), LogRing(restarted_at)
    logger(old).info("old")
    last = old.lines(None, 1, logging.DEBUG)[0].id
    assert new.lines(last, 10, logging.DEBUG) == []
    logger(new).info("new")
    assert [line.message for line in new.lines(last, 10, logging.DEBUG)] == ["new"]


async def test_a_file_is_compared_with_what_runs(rig: Any) -> None:
    fleet = rig.config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    async with rig.client(Role.OPERATOR) as client:
        same = await client.post("/cp/v1/config/diff", json={"fleet": fleet})
        changed = await client.post("/cp/v1/config/diff", json={"fleet": {**fleet, "scrape": {"interval": "5s"}}})
        bad = await client.post("/cp/v1/config/diff", json={"fleet": {"fleet": {"nmae": "x"}}})
    assert (same.status_code, same.json()) == (200, {"changes": []})
    assert changed.json()["changes"] == [
        {"field": "scrape.interval", "running": '"15s"', "file": '"5s"', "effect": "at the reload"}
    ]
    assert bad.status_code == 422
    assert "fleet.nmae: unknown field" in bad.text
    async with rig.client(Role.VIEWER) as client:
        assert (await client.post("/cp/v1/config/diff", json={"fleet": fleet})).status_code == 403
