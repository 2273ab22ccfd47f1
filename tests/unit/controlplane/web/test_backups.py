"""The pages of backups, and the dialog of a run now."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controlplane.access.roles import Role
from controlplane.clock.calendar import Calendar, Timetable
from controlplane.config.backup.section import BackupSection
from controlplane.fleet.backups import BackupDesk, BackupJobs
from controlplane.fleet.snapshots import SnapshotList, SnapshotView
from controlplane.fleet.view import instant
from controlplane.store.backups.runs import BackupOutcome, BackupResult, BackupRunStore
from controlplane.store.schedules import ScheduleStore
from tests.unit.controlplane.api.conftest import NOW, Rig
from tests.unit.controlplane.web.conftest import HTMX, Browser, Console
from tests.unit.controlplane.web.reading import sections, words

HOUR = 3600.0
KEY = "0" * 32
MARKUP = "<img src=x onerror=alert(1)>"
SECTION: dict[str, Any] = {
    "repository": "file:///backups/llm",
    "key_file": "/backup.key",
    "jobs": [
        {"name": "models", "folder": "/models", "schedule": "@hourly", "keep": {"daily": 7, "weekly": 4}},
        {"name": "plane", "control_plane": True, "schedule": "@hourly", "max_age": "3h"},
    ],
    "verify": {"schedule": "@hourly", "sample": 10},
}
GOOD = BackupResult(BackupOutcome.SUCCEEDED, "", "20270115T060000Z-abc", NOW - 2 * HOUR, 3 << 30, 1 << 20)


def configure(rig: Rig, section: dict[str, Any] | None = None, *, observe_only: bool = False) -> None:
    """Let the control plane have the section; its jobs were first seen four hours ago."""
    found = BackupSection.model_validate(section or SECTION)
    drills = [f"drill-{job.name}" for job in found.drilled]
    times = {name: Timetable(Calendar("@hourly")) for name in [job.name for job in found.jobs] + ["verify"] + drills}
    if found.verify is None:
        del times["verify"]
    for name in times:
        ScheduleStore(rig.db).open(f"backup-{name}", str(times[name]), NOW - 4 * HOUR)
    rig.config = rig.config.model_copy(update={"backup": found})
    rig.backups = BackupDesk(
        rig.db, lambda: BackupJobs(found, times), lambda: NOW, stored_as="backup-", observe_only=observe_only
    )


def ran(rig: Rig, job: str, result: BackupResult, began: float, ended: float) -> None:
    runs = BackupRunStore(rig.db)
    runs.finish(runs.begin(job, None, began).id, result, None, ended)


def snapshot(subject: str = "chat", version: str = "v2", host: str = "node-7") -> SnapshotView:
    return SnapshotView(
        id="20270115T060000Z-abc",
        subject=subject,
        version=version,
        stored_at=instant(NOW - 90),
        files=3,
        bytes=3 << 30,
        new_bytes=1 << 20,
        host=host,
        by="root",
        source="/models",
        tags={},
    )


def row(page: str, job: str) -> str:
    found = re.search(rf'<tr id="job-{job}"[^>]*>.*?</tr>', page, re.S)
    assert found, page
    return words("<main>" + found[0])


async def send(browser: Browser, path: str) -> Any:
    return await browser.confirm(path, KEY)


async def test_without_backups_the_page_says_what_to_do(console: Console) -> None:
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/backups")
        assert (await browser.client.get("/backups/models")).status_code == 404
    shown = words(page)
    assert "controlplane backup init --repository file:///backups/llm --key-file" in shown
    assert "control_plane: true" in shown and "docs/backups.md" in shown
    assert sections(page)["/backups"] is True


async def test_each_job_has_its_state_age_last_run_and_next_run(console: Console) -> None:
    configure(console.rig)
    ran(console.rig, "models", GOOD, NOW - 2 * HOUR - 60, NOW - 2 * HOUR)
    failed = BackupResult(BackupOutcome.FAILED, f"the repository is full: free space with `backup prune`; {MARKUP}")
    ran(console.rig, "models", failed, NOW - HOUR, NOW - HOUR + 5)
    ran(console.rig, "verify", BackupResult(BackupOutcome.INTERRUPTED), NOW - HOUR, NOW - HOUR + 5)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/backups")
    models, plane, verify = (row(page, job) for job in ("models", "plane", "verify"))
    assert models.startswith("models /models failed 2h ago of at most 26 h failed 59m 55s ago after 5 s the repository")
    assert "free space with backup prune" in models and models.endswith("what to do due @hourly")
    assert plane.startswith("plane control plane as control-plane too old never seen since 2027-01-15 04:00:00")
    assert "none yet too old: what to do" in plane
    assert verify.startswith("verify file:///backups/llm interrupted never")
    assert "0 of 3 jobs are good 1 too old 1 failed 0 running or waiting – snapshots" in words(page)
    assert 'href="/runbooks/BackupFailed"' in page and 'href="/runbooks/BackupTooOld"' in page
    assert "<img" not in page and "Run now…" not in page and "Verify now…" not in page


async def test_what_runs_shows_its_progress_rate_and_time_left(console: Console) -> None:
    configure(console.rig)
    runs = BackupRunStore(console.rig.db)
    run = runs.begin("models", None, NOW - 20)
    shown = []
    async with console.browser(Role.OPERATOR) as browser:
        for done, total in ((0, 0), (1 << 30, 4 << 30), (4 << 30, 4 << 30)):
            runs.progress(run.id, done, total, None)
            shown.append(row(await browser.page("/backups"), "models"))
        page = await browser.page("/backups")
    assert "running looks at what there is" in shown[0]
    assert "running 25 % 1 GiB of 4 GiB, 51.2 MiB/s, time left: about 1 min" in shown[1]
    assert "running 4 GiB done; it writes the end, or prunes" in shown[2]
    assert 'id="run-models"' not in page and 'id="run-plane"' in page and "Verify now…" in page
    assert "1 running or waiting" in words(page)


async def test_models_and_a_control_plane_without_a_job_are_named(console: Console) -> None:
    configure(console.rig, {**SECTION, "jobs": SECTION["jobs"][:1], "verify": None})
    async with console.browser(Role.VIEWER) as browser:
        shown = words(await browser.page("/backups"))
    assert "No job names these models: chat." in shown
    assert "No job backs up the control plane itself." in shown and "The repository is never read again" in shown
    jobs = [{**SECTION["jobs"][0], "subject": "chat"}, SECTION["jobs"][1]]
    configure(console.rig, {**SECTION, "jobs": jobs})
    async with console.browser(Role.VIEWER) as browser:
        shown = words(await browser.page("/backups"))
    assert "No job" not in shown and "never read again" not in shown


async def test_an_operator_runs_a_job_after_reading_what_it_does(console: Console) -> None:
    configure(console.rig)
    ran(console.rig, "models", GOOD, NOW - 2 * HOUR - 60, NOW - 2 * HOUR)
    async with console.browser(Role.OPERATOR) as browser:
        dialog = words("<main>" + await browser.dialog("/backups/models/run"))
        answer = await send(browser, "/backups/models/run")
        again = await send(browser, "/backups/models/run")
        asked = words("<main>" + await browser.dialog("/backups/models/run"))
        page = row(await browser.page("/backups"), "models")
        verify = words("<main>" + await browser.dialog("/backups/verify/run"))
        plane = words("<main>" + await browser.dialog("/backups/plane/run"))
    assert "backs /models up to file:///backups/llm, as a new snapshot of models." in dialog
    assert "deletes the snapshots of models beyond 7 daily, 4 weekly, and the newest of each version" in dialog
    assert "The last run took 60 s." in dialog and "Run now" in dialog
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/backups")
    assert "Nothing was done" in again.text and "waits already" in again.text
    assert "a run of models waits already" in asked and "Run now" not in asked
    assert "waits asked for 2027-01-15 08:00:00 by test-operator" in page
    assert "reads 10 % of the packs" in verify and "It changes no snapshot." in verify
    assert "database and configuration" in plane and "No snapshot is deleted." in plane
    assert [run.job for run in BackupRunStore(console.rig.db).wanted()] == ["models"]


async def test_the_dialog_says_whether_a_run_backs_the_samples_up(console: Console) -> None:
    plane = {"control_plane": True, "schedule": "@hourly"}
    jobs = [{"name": "plane", **plane}, {"name": "samples", "with_metrics": True, "keep": {"daily": 30}, **plane}]
    configure(console.rig, {**SECTION, "jobs": jobs})
    async with console.browser(Role.OPERATOR) as browser:
        without = words("<main>" + await browser.dialog("/backups/plane/run"))
        samples = words("<main>" + await browser.dialog("/backups/samples/run"))
    assert "samples" not in without
    assert "database, configuration and stored samples up to file:///backups/llm" in samples
    assert "deletes the snapshots of control-plane-with-metrics beyond 30 daily" in samples


async def test_viewers_strangers_and_other_sites_run_nothing(console: Console) -> None:
    configure(console.rig)
    async with console.browser(Role.VIEWER) as browser:
        assert (await browser.client.get("/backups/models/run", headers=HTMX)).status_code == 403
        assert (await send(browser, "/backups/models/run")).status_code == 403
    async with console.browser(Role.OPERATOR) as browser:
        assert (await browser.client.post("/backups/models/run", headers=HTMX, data={"key": KEY})).status_code == 403
        assert (await send(browser, "/backups/gone/run")).status_code in (200, 404)
        assert (await browser.client.get("/backups/models/run")).headers["location"] == "/backups/models"
    async with console.browser(None) as browser:
        assert (await browser.client.get("/backups")).headers["location"].startswith("/sign-in")
    assert BackupRunStore(console.rig.db).wanted() == []


async def test_a_control_plane_that_only_observes_says_so_and_has_no_button(console: Console) -> None:
    configure(console.rig, observe_only=True)
    console.rig.observe_only()
    async with console.browser(Role.OPERATOR) as browser:
        answer = await send(browser, "/backups/models/run")
    assert "only observes" in answer.text and BackupRunStore(console.rig.db).wanted() == []


async def test_a_job_has_a_page_with_its_runs(console: Console) -> None:
    configure(console.rig)
    ran(console.rig, "models", GOOD, NOW - 2 * HOUR - 60, NOW - 2 * HOUR)
    ran(console.rig, "models", BackupResult(BackupOutcome.FAILED, MARKUP), NOW - HOUR, NOW - HOUR + 5)
    async with console.browser(Role.OPERATOR) as browser:
        page = await browser.page("/backups/models")
        fresh = words(await browser.page("/backups/verify"))
    shown = words(page)
    assert shown.startswith("Backup models failed Run now…") and "<img" not in page
    assert "Newest snapshot 2027-01-15 06:00:00 by the repository's clock" in shown
    runs = shown[shown.index("Snapshot and words") :]
    assert re.search(r"07:00:05 failed 5 s – the calendar .*06:00:00 succeeded 1 min 3 GiB, 1 MiB new", runs)
    assert "20270115T060000Z-abc" in runs
    assert fresh.startswith("Verification of the repository not run yet") and "No run has ended yet." in fresh


async def test_snapshots_are_shown_with_the_age_of_the_list(console: Console) -> None:
    configure(console.rig)
    console.rig.snapshots = SnapshotList(
        items=(snapshot(), snapshot(MARKUP, "", MARKUP)),
        more=True,
        read_at=instant(NOW - 182),
        notes=(f"left {MARKUP}",),
    )
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/backups")
    shown = words(page)
    assert "Snapshots read 3m 2s ago" in shown and "<img" not in page
    assert "chat v2 1m 30s ago 3 3 GiB 1 MiB node-7 20270115T060000Z-abc" in shown
    assert "Only the newest 2 snapshots are shown." in shown and "2+ snapshots" in shown


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (
            {"reading_since": instant(NOW - 40)},
            "Snapshots being read for 40s The list is being read. A repository that",
        ),
        (
            {"fault": "no route to `s3`", "failed_at": instant(NOW - 5)},
            "could not be read 5s ago: no route to s3",
        ),
        (
            {
                "fault": "no route",
                "failed_at": instant(NOW - 5),
                "read_at": instant(NOW - HOUR),
                "items": (snapshot(),),
            },
            "could not be read 5s ago: no route The list below is older. Subject",
        ),
        ({"read_at": instant(NOW - 5)}, "The repository has no snapshots. An operator makes the first one"),
    ],
)
async def test_a_repository_that_hangs_fails_or_is_empty_is_told(
    console: Console, known: dict[str, Any], says: str
) -> None:
    configure(console.rig)
    console.rig.snapshots = SnapshotList(**known)
    async with console.browser(Role.VIEWER) as browser:
        page = await browser.page("/backups")
    assert says in words(page) and row(page, "models")


async def test_the_dialog_of_a_drill_says_what_it_touches(console: Console) -> None:
    engine = {"triton": "http://drills:8000"}
    drill = {"schedule": "@weekly", "scratch": "/srv/drills", "engine": engine}
    configure(console.rig, {**SECTION, "drill": drill})
    async with console.browser(Role.OPERATOR) as browser:
        dialog = words("<main>" + await browser.dialog("/backups/drill-models/run"))
    assert "Run drill-models now?" in dialog
    assert "restores the newest snapshot of models into /srv/drills, checks every byte, and deletes it there." in dialog
    assert "The Triton at http://drills:8000 loads it, and unloads it again." in dialog
    assert "It changes no snapshot and nothing that serves." in dialog


async def test_failed_and_overdue_runs_lead_to_the_runbook_of_their_kind(console: Console) -> None:
    drill = {"schedule": "@weekly", "scratch": "/srv/drills", "max_age": "1h"}
    configure(console.rig, {**SECTION, "drill": drill})
    failed = BackupResult(BackupOutcome.FAILED, "no room")
    for job in ("verify", "drill-models"):
        ran(console.rig, job, failed, NOW - HOUR, NOW - HOUR + 1)
    async with console.browser(Role.VIEWER) as browser:
        verify, models = await browser.page("/backups/verify"), await browser.page("/backups/drill-models")
        plane = await browser.page("/backups/drill-plane")
        every = await browser.page("/backups")
    assert 'href="/runbooks/BackupVerifyFailed"' in verify
    assert "Drill of models" in words(models)
    assert 'href="/runbooks/BackupDrillOverdue"' in plane
    assert "Nobody knows whether the snapshots since the newest one can be restored." in words(plane)
    assert 'href="/runbooks/BackupDrillFailed"' in every
    assert 'href="/runbooks/BackupFailed"' not in every
