"""Backups over HTTP: the jobs, a wish for a run, and the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.clock.calendar import Calendar, Timetable
from controlplane.config.backup.section import BackupSection
from controlplane.fleet.backups import BackupDesk, BackupJobs
from controlplane.fleet.snapshots import SnapshotList
from controlplane.store.audit import AuditStore
from controlplane.store.backups.runs import BackupOutcome, BackupResult, BackupRunStore
from controlplane.store.schedules import ScheduleStore
from tests.unit.controlplane.api.conftest import NOW

HOUR = 3600.0
SECTION = BackupSection.model_validate(
    {
        "repository": "s3://bucket/llm",
        "key_file": "/backup.key",
        "jobs": [
            {"name": "models", "folder": "/models", "schedule": "@hourly"},
            {"name": "plane", "control_plane": True, "schedule": "@hourly", "max_age": "3h"},
        ],
        "verify": {"schedule": "@hourly"},
        "drill": {"schedule": "@hourly", "scratch": "/scratch", "jobs": ["models"], "max_age": "3h"},
    }
)
TIMES = {name: Timetable(Calendar("@hourly")) for name in ("models", "plane", "verify", "drill-models")}


@pytest.fixture
def desk(rig: Any) -> BackupDesk:
    """A control plane with two jobs that were first seen four hours ago."""
    for name in TIMES:
        ScheduleStore(rig.db).open(f"backup-{name}", str(TIMES[name]), NOW - 4 * HOUR)
    rig.backups = BackupDesk(
        rig.db, lambda: BackupJobs(SECTION, TIMES), lambda: NOW, stored_as="backup-", observe_only=False
    )
    desk: BackupDesk = rig.backups
    return desk


def ran(rig: Any, job: str, result: BackupResult, began: float, ended: float) -> None:
    runs = BackupRunStore(rig.db)
    runs.finish(runs.begin(job, None, began).id, result, None, ended)


async def items(rig: Any) -> dict[str, Any]:
    async with rig.client(Role.VIEWER) as client:
        answer = await client.get("/cp/v1/backups")
    assert answer.status_code == 200, answer.text
    return {item["job"]: item for item in answer.json()["items"]}


async def metrics(rig: Any) -> dict[str, float]:
    async with rig.client(Role.VIEWER) as client:
        text = (await client.get("/metrics")).text
    rows = [line.rpartition(" ") for line in text.splitlines() if line.startswith("controlplane_backup_")]
    return {name.removeprefix("controlplane_backup_"): float(value) for name, _, value in rows}


async def test_without_jobs_there_is_nothing(rig: Any) -> None:
    assert await items(rig) == {} and await metrics(rig) == {}
    async with rig.client(Role.OPERATOR) as client:
        assert (await client.post("/cp/v1/backups/models/runs")).status_code == 404


async def test_a_job_that_a_reload_removes_while_it_is_asked_for_is_not_found(rig: Any) -> None:
    left = iter([BackupJobs(SECTION, TIMES)])
    gone = BackupJobs(None, {})
    rig.backups = BackupDesk(rig.db, lambda: next(left, gone), lambda: NOW, stored_as="backup-", observe_only=False)
    async with rig.client(Role.OPERATOR) as client:
        answer = await client.post("/cp/v1/backups/models/runs")
    assert answer.status_code == 404
    assert "the backup models is no longer in fleet.yaml" in answer.json()["detail"]


async def test_a_job_from_its_first_look_to_a_good_run_and_a_failed_one(rig: Any, desk: BackupDesk) -> None:
    found = await items(rig)
    assert list(found) == ["models", "plane", "verify", "drill-models"]
    tried = found["drill-models"]
    assert (tried["source"], tried["subject"], tried["too_old"]) == ("newest snapshot of models", "models", True)
    models, plane = found["models"], found["plane"]
    assert (models["source"], models["subject"], models["max_age_seconds"]) == ("/models", "models", 93_600.0)
    assert (plane["source"], plane["subject"]) == ("control plane", "control-plane")
    assert models["last"] is None and models["age_seconds"] is None and models["open"] is None
    # Neither job ever succeeded; four hours are too long for one of them.
    assert (models["too_old"], plane["too_old"], found["verify"]["too_old"]) == (False, True, False)
    shown = await metrics(rig)
    assert shown['waiting_since_timestamp_seconds{backup="models"}'] == NOW - 4 * HOUR
    assert 'last_success_timestamp_seconds{backup="models"}' not in shown and 'failed{backup="models"}' not in shown

    good = BackupResult(BackupOutcome.SUCCEEDED, "", "abc", NOW - 2 * HOUR, 900, 30)
    ran(rig, "plane", good, NOW - 2 * HOUR - 60, NOW - 2 * HOUR)
    ran(rig, "plane", BackupResult(BackupOutcome.FAILED, "no space"), NOW - HOUR, NOW - HOUR + 5)
    plane = (await items(rig))["plane"]
    assert (plane["age_seconds"], plane["too_old"], plane["waiting_since"]) == (2 * HOUR, False, None)
    assert (plane["last"]["outcome"], plane["last"]["words"], plane["last"]["seconds"]) == ("failed", "no space", 5.0)
    shown = await metrics(rig)
    assert shown['failed{backup="plane"}'] == 1.0 and shown['duration_seconds{backup="plane"}'] == 5.0
    assert shown['last_success_timestamp_seconds{backup="plane"}'] == NOW - 2 * HOUR
    assert shown['max_age_seconds{backup="plane"}'] == 3 * HOUR and 'bytes{backup="plane"}' not in shown
    assert (
        'max_age_seconds{backup="verify"}' not in shown and shown['max_age_seconds{backup="drill-models"}'] == 3 * HOUR
    )
    assert "repository_free_bytes" not in shown, "an object store has no end"


async def test_an_interrupted_run_is_no_failure_and_a_running_one_shows_its_progress(
    rig: Any, desk: BackupDesk
) -> None:
    ran(rig, "models", BackupResult(BackupOutcome.INTERRUPTED), NOW - 60, NOW - 30)
    run = BackupRunStore(rig.db).begin("models", None, NOW - 20)
    BackupRunStore(rig.db).progress(run.id, 40, 90, None)
    opened = (await items(rig))["models"]["open"]
    assert (opened["state"], opened["done_bytes"], opened["total_bytes"]) == ("running", 40, 90)
    assert (opened["bytes_per_second"], opened["left_seconds"]) == (2.0, 25.0)  # 40 bytes in 20 s
    shown = await metrics(rig)
    assert (shown['failed{backup="models"}'], shown['running{backup="models"}']) == (0.0, 1.0)


async def test_the_room_of_a_repository_in_a_folder_is_shown(rig: Any, tmp_path: Path) -> None:
    section = SECTION.model_copy(update={"repository": tmp_path.as_uri()})
    rig.backups = BackupDesk(
        rig.db, lambda: BackupJobs(section, TIMES), lambda: NOW, stored_as="backup-", observe_only=False
    )
    shown = await metrics(rig)
    assert 0 < shown["repository_free_bytes"] <= shown["repository_size_bytes"]


async def test_an_operator_asks_for_one_run_at_a_time(rig: Any, desk: BackupDesk) -> None:
    async with rig.client(Role.OPERATOR) as client:
        answer = await client.post("/cp/v1/backups/models/runs")
        again = await client.post("/cp/v1/backups/models/runs")
        unknown = await client.post("/cp/v1/backups/gone/runs")
    assert answer.status_code == 202
    assert (answer.json()["open"]["state"], answer.json()["open"]["total_bytes"]) == ("waiting", None)
    assert again.status_code == 409 and "waits already" in again.json()["detail"]
    assert unknown.status_code == 404 and "declares models, plane, verify, drill-models" in unknown.json()["detail"]
    (act,) = [act for act in AuditStore(rig.db).recent(9) if act.action == "backup.run"]
    assert act.subject == "backup/models" and act.actor == answer.json()["open"]["asked_by"]


async def test_a_control_plane_that_only_observes_refuses(rig: Any, desk: BackupDesk) -> None:
    desk._observe_only = True
    async with rig.client(Role.OPERATOR) as client:
        answer = await client.post("/cp/v1/backups/models/runs")
    assert answer.status_code == 409 and "only observes" in answer.json()["detail"]
    assert BackupRunStore(rig.db).wanted() == []


async def test_runs_of_a_job_are_listed_the_newest_first_without_the_open_one(rig: Any, desk: BackupDesk) -> None:
    good = BackupResult(BackupOutcome.SUCCEEDED, "", "abc", NOW - 2 * HOUR, 900, 30)
    ran(rig, "plane", good, NOW - 2 * HOUR - 60, NOW - 2 * HOUR)
    ran(rig, "plane", BackupResult(BackupOutcome.FAILED, "no space"), NOW - HOUR, NOW - HOUR + 5)
    ran(rig, "models", good, NOW - 50, NOW - 40)
    BackupRunStore(rig.db).begin("plane", None, NOW - 20)
    async with rig.client(Role.VIEWER) as client:
        found = (await client.get("/cp/v1/backups/plane/runs")).json()["items"]
        newest = (await client.get("/cp/v1/backups/plane/runs", params={"limit": 1})).json()["items"]
        codes = [
            (await client.get("/cp/v1/backups/plane/runs", params={"limit": limit})).status_code for limit in (0, 201)
        ]
        unknown = await client.get("/cp/v1/backups/gone/runs")
    assert [(run["outcome"], run["words"], run["snapshot"]) for run in found] == [
        ("failed", "no space", None),
        ("succeeded", "", "abc"),
    ]
    assert newest == found[:1] and codes == [400, 400]
    assert unknown.status_code == 404 and "fleet.yaml declares models, plane, verify" in unknown.json()["detail"]


async def test_the_repository_and_the_models_that_no_job_names_are_beside_the_jobs(rig: Any, desk: BackupDesk) -> None:
    rig.config = rig.config.model_copy(update={"backup": SECTION})
    async with rig.client(Role.VIEWER) as client:
        found = (await client.get("/cp/v1/backups")).json()
    assert (found["repository"], found["unnamed_models"]) == ("s3://bucket/llm", ["chat"])


async def test_snapshots_are_those_that_were_read_last(rig: Any) -> None:
    async with rig.client(Role.VIEWER) as client:
        empty = (await client.get("/cp/v1/snapshots")).json()
        rig.snapshots = SnapshotList(read_at="2027-01-15T07:59:00.000Z", fault="no route", more=True)
        found = (await client.get("/cp/v1/snapshots")).json()
    assert (empty["items"], empty["read_at"], empty["fault"]) == ([], None, None)
    assert (found["read_at"], found["fault"], found["more"]) == ("2027-01-15T07:59:00.000Z", "no route", True)
