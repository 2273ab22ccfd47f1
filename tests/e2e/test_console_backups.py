"""The console's pages of backups in a real Chromium, over a control plane that makes real backups."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.test_console import (
    ADMIN,
    ControlPlane,
    Engine,
    context,  # noqa: F401 - a fixture
    page,  # noqa: F401 - a fixture
    sign_in,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

BACKUP = """
backup:
  repository: {folder}/repository
  key_file: {folder}/backup.key
  jobs:
    - {{name: weights, folder: {folder}/models, schedule: "0 2 1 1 *", keep: {{last: 3}}}}
    - {{name: a-job-with-a-name-as-long-as-people-make-them, folder: {folder}/gone, schedule: "0 2 1 1 *"}}
    - {{name: plane, control_plane: true, schedule: "0 2 1 1 *"}}
  verify: {{schedule: "0 2 1 1 *"}}
"""


def prepare(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "model.bin").write_bytes(b"weights" * 1_000_000)
    with (folder / "fleet.yaml").open("a") as file:
        file.write(BACKUP.format(folder=folder))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async with Engine() as engine:
        folder = tmp_path_factory.mktemp("backups")
        plane = ControlPlane(folder, engine)
        prepare(folder)
        words = ("backup", "init", "--repository", folder / "repository", "--key-file", folder / "backup.key")
        made = await asyncio.create_subprocess_exec(sys.executable, "-m", "controlplane", *words)
        assert await made.wait() == 0
        try:
            await plane.start()
            yield plane
        finally:
            await plane.stop()


async def test_a_backup_is_run_and_its_snapshot_shown(page: Page) -> None:  # noqa: F811
    await sign_in(page, ADMIN, "/backups")
    await expect(page.get_by_text("The repository has no snapshots.")).to_be_visible()
    dialog, row = page.get_by_role("dialog"), page.locator("#job-weights")
    await page.get_by_role("button", name="Run now: weights").click()
    await expect(dialog).to_contain_text("as a new snapshot of weights")
    await expect(dialog).to_contain_text("deletes the snapshots of weights beyond 3 last")
    await dialog.get_by_role("button", name="Run now").click()
    await page.wait_for_url("**/backups")
    await expect(row).to_contain_text("succeeded")
    await expect(row).to_contain_text("6.68 MiB")
    snapshots = page.get_by_role("table", name="Snapshots").locator("tbody tr")
    await expect(snapshots).to_have_count(1)
    await expect(snapshots.first).to_contain_text("weights")

    await page.get_by_role("button", name="Verify now: the repository").click()
    await dialog.get_by_role("button", name="Verify now").click()
    await expect(page.locator("#job-verify")).to_contain_text("packs were read, and are whole")


async def test_a_failed_run_says_why_and_its_page_has_the_history(page: Page) -> None:  # noqa: F811
    name = "a-job-with-a-name-as-long-as-people-make-them"
    await sign_in(page, ADMIN, "/backups")
    await page.get_by_role("button", name=f"Run now: {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Run now").click()
    await page.wait_for_url("**/backups")
    row = page.locator(f"#job-{name}")
    await expect(row.locator(".warning")).to_contain_text("No such file or directory")
    await row.get_by_role("link", name="what to do").click()
    await expect(page.locator("h1")).to_have_text("BackupFailed")
    await page.go_back()
    await row.get_by_role("link", name=name).click()
    await expect(page.locator("h1 .state")).to_have_text("failed")
    await expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(1)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        for width in (1280, 800, 375):
            await page.set_viewport_size({"width": width, "height": 900})
            for path in ("/backups", f"/backups/{name}"):
                await page.goto(path)
                await expect(page.locator("#live-state")).to_have_text("live")
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                hidden = await page.evaluate(
                    """[...document.querySelectorAll('#live .table')].filter((table) =>
                    table.scrollWidth > table.clientWidth + 1).length"""
                )
                assert width > 375 or hidden == 0
