"""The page of the control plane itself: its health, its log by level, and the comparison with fleet.yaml on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI

from controlplane.access.roles import Role
from controlplane.api.app import create_api
from controlplane.config.difference import Change
from controlplane.errors import ConfigError, ConfigErrors, Unavailable
from controlplane.fleet.schedules import RunView, ScheduleView
from controlplane.fleet.view import instant
from controlplane.metrics.storage.report import StorageReport
from controlplane.store.lease import LeaseStatus
from controlplane.store.replicas import ReplicaStatus
from controlplane.web.console import install_console
from tests.unit.controlplane.api.conftest import NOW
from tests.unit.controlplane.web.conftest import HTMX
from tests.unit.controlplane.web.reading import sections, words


def app_with(console: Any, **services: Any) -> FastAPI:
    """Return the app with some services replaced."""
    app = create_api(replace(console.rig.services(), **services))
    install_console(app)
    return app


def sharing(console: Any, **changes: Any) -> FastAPI:
    """Return the app of a console with other leases and replicas."""
    return app_with(console, sharing=replace(console.rig.services().sharing, **changes))


async def test_it_tells_health_leases_clock_and_schedules(console: Any) -> None:
    rig = console.rig
    last = RunView(
        due_at=instant(NOW - 60), started_at=None, finished_at=instant(NOW - 50), outcome="failed", error="no disk"
    )
    rig.schedules = [
        ScheduleView(
            name="report",
            cron="@daily",
            timezone="UTC",
            shift_seconds=0,
            catch_up_seconds=60,
            next_at=instant(NOW + 3600),
            last=last,
            runs=3,
            failures=1,
            missed=2,
        )
    ]
    holders = [LeaseStatus("alerting", "me:1:a", 1, NOW + 9), LeaseStatus("rollouts", "node-2:7:b", 4, NOW + 9)]
    app = sharing(console, lease_holders=lambda: holders)
    async with console.browser(Role.VIEWER, app) as browser:
        page = await browser.page("/system")
    shown = words(page)
    assert "ready control plane 0.1.0 1h since the start 1 of 1 targets are up" in shown
    assert "1 steps forward, 2 back last by -300 s" in shown
    assert "alerting here me:1:a" in shown and "rollouts elsewhere node-2:7:b" in shown
    assert "report failed 50s ago no disk in 1h @daily UTC 3 1 2" in shown
    assert "Log newest first" not in shown and "Compare with" not in shown
    assert sections(page)["/system"] is True


async def test_every_running_replica_is_there_with_what_it_holds(console: Any) -> None:
    holders = [LeaseStatus("alerting", "b:7:x", 4, NOW + 9), LeaseStatus("rollouts", "old:9:z", 2, NOW - 1)]
    running = [ReplicaStatus("a:1:y", 2.0, 0.25), ReplicaStatus("b:7:x", 1.0, 0.0), ReplicaStatus("c:3:w", 90.0, -2.0)]
    here = {"alerting": False, "rollouts": True}
    app = sharing(console, leases=lambda: here, lease_holders=lambda: holders, holder="a:1:y", replicas=lambda: running)
    async with console.browser(Role.VIEWER, app) as browser:
        shown = words(await browser.page("/system"))
        found = (await browser.client.get("/cp/v1/system")).json()["replicas"]
    assert (
        "Replica State Holds Clock ahead a:1:y here rollouts 0.25 s b:7:x up alerting 0 s "
        "c:3:w silent for 1 min 30 s nothing: it stands by -2 s" in shown
    )
    assert found[1] == {
        "name": "b:7:x",
        "here": False,
        "silent_seconds": 1.0,
        "clock_ahead_seconds": 0.0,
        "leases": ["alerting"],
    }


async def test_without_others_this_process_is_the_only_replica(console: Any) -> None:
    async with console.browser(Role.VIEWER, sharing(console, holder="a:1:y")) as browser:
        shown = words(await browser.page("/system"))
    assert "Replica State Holds Clock ahead a:1:y here alerting –" in shown


async def test_replicas_are_unknown_while_the_database_is_away(console: Any) -> None:
    def away() -> Sequence[ReplicaStatus]:
        raise Unavailable("no route to db:5432")

    async with console.browser(Role.VIEWER, sharing(console, holder="a:1:y", replicas=away)) as browser:
        assert "the running processes of this control plane Not known now." in words(await browser.page("/system"))
        assert (await browser.client.get("/cp/v1/system")).json()["replicas"] is None


async def test_what_is_wrong_is_told_first(console: Any) -> None:
    rig = console.rig
    rig.not_ready = {"database": "no route to db:5432"}
    rig.storage = StorageReport(paused="the disk is full")
    app = app_with(console, alerting_fault=lambda: "the database is locked")
    async with console.browser(Role.VIEWER, app) as browser:
        shown = words(await browser.page("/system"))
    assert shown.index("database is not ready: no route to db:5432") < shown.index("since the start")
    assert "Samples are kept in memory only: the disk is full" in shown
    assert "Alert states and messages are kept in memory: the database is locked" in shown


async def test_operators_read_the_log_by_level(console: Any) -> None:
    for level, message in ((logging.INFO, "began"), (logging.ERROR, "broke <b>")):
        console.rig.log.handle(logging.LogRecord("app", level, "", 0, message, (), None))
    async with console.browser(Role.OPERATOR) as browser:
        every = words(await browser.page("/system"))
        page = await browser.page("/system?level=error")
        rows = (await browser.client.get("/system?level=error&format=csv")).text.splitlines()
        await browser.page("/system?level=loud", 400)
    assert every.index("broke") < every.index("began")
    assert "began" not in words(page) and "<b>" not in page.split("broke ")[1][:4]
    assert len(rows) == 2 and rows[1].endswith(",error,app,broke <b>")


async def test_a_viewer_who_asks_for_the_log_is_told_why_there_is_none(console: Any) -> None:
    console.rig.log.handle(logging.LogRecord("app", logging.ERROR, "", 0, "broke", (), None))
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/system?format=csv", 403)
    assert "this needs role operator, and token test-viewer" in words(page)
    assert "broke" not in page


async def test_a_reload_is_compared_before_it_is_made(console: Any) -> None:
    found: list[Change] = [Change("models[0].stable", "v1", "v2", "at the reload")]
    faults: list[ConfigError] = []

    async def on_disk() -> Sequence[Change]:
        if faults:
            raise ConfigErrors(faults)
        return found

    app = app_with(console, on_disk=on_disk)
    async with console.browser(Role.OPERATOR, app) as browser:
        dialog = await browser.dialog("/system/reload")
        assert "models[0].stable" in dialog and "at the reload" in dialog and "hx-post" not in dialog
        assert (await browser.client.get("/cp/v1/config/diff")).json()["changes"][0]["file"] == "v2"
    async with console.browser(Role.ADMIN, app) as browser:
        assert 'hx-post="/system/reload"' in await browser.dialog("/system/reload")
        headers = {**HTMX, "X-CSRF-Token": await browser.csrf()}
        assert (await browser.client.post("/system/reload", headers=headers)).headers["HX-Redirect"] == "/system"
        faults.append(ConfigError("v9 is none of the versions", field="models[0].stable"))
        dialog = await browser.dialog("/system/reload")
        assert "The file has faults" in dialog and "v9 is none of the versions" in dialog and "hx-post" not in dialog
        found.clear()
        faults.clear()
        assert "a reload would change nothing" in await browser.dialog("/system/reload")
