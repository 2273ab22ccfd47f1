"""Drills with real engines: a Triton repository is lost under a serving Triton and comes back; a drill's own Triton."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.demo.repository import write_repository
from controlplane.demo.state import read_state
from controlplane.demo.triton import TritonServer
from tests.e2e.demo_world import Demo, running
from tests.fakes.failing_version import write_failing_version
from tests.unit.controlplane.cli.backups.conftest import Machine

pytestmark = [pytest.mark.needs("triton"), pytest.mark.timeout(600)]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with running(tmp_path) as started:
        started.environment["CP_BACKUP_REPOSITORY"] = (tmp_path / "repository").as_uri()
        started.environment["CP_BACKUP_KEY_FILE"] = str(tmp_path / "backup.key")
        yield started


def test_a_model_repository_that_is_lost_under_load_is_restored_reloaded_and_serves_again(demo: Demo) -> None:
    models = demo.folder / "demo" / "models"
    triton = read_state(demo.folder / "demo" / "demo.json").triton_url
    assert triton is not None
    demo.cp("backup", "init")
    demo.until("load", lambda: demo.load()["model"]["requests"] > 20)
    demo.cp("backup", "create", str(models), "--name", "triton")

    shutil.rmtree(models)
    lost = demo.cp("promote", "model", "v2", code=1)
    assert str(models) in lost
    restored = demo.cp("backup", "restore", "triton", str(models), "--to-triton", triton)
    assert f"{triton} has loaded model 1 from {models}" in restored

    text = demo.cp("promote", "model", "v2")
    assert re.search(r"verifying +v2 serves on ", text), text
    answered = demo.load()["model"]["versions"].get("v2", 0)
    demo.until("answers of v2", lambda: demo.load()["model"]["versions"].get("v2", 0) > answered + 10)

    # A day later: what was promoted meanwhile is undone by an older backup, and the restored folder says so.
    demo.until("the end", lambda: demo.json("rollouts", "list")[0]["finished"])
    plan = demo.cp("backup", "restore", "triton", str(models), "--replace", "--to-triton", triton, "--dry-run")
    assert re.search(r"changed +\S+ \S+ +model/config.pbtxt", plan), plan
    back = demo.cp("backup", "restore", "triton", str(models), "--replace", "--to-triton", triton, "--delete-old")
    assert "has loaded model 1 from" in back and re.search(r"The old folder \S+ is deleted", back)
    assert [path.name for path in models.parent.glob(".models.*")] == []
    answered = demo.load()["model"]["versions"]["v1"]
    demo.until("answers of v1", lambda: demo.load()["model"]["versions"]["v1"] > answered + 10)
    load = demo.load()["model"]
    assert (load["failed"], load["cut"]) == (0, 0), load["errors"]


async def test_a_restored_version_that_the_engine_cannot_load_gives_way_to_the_old_folder(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.backup("init")
    write_repository(machine.models)
    write_failing_version(machine.models, 1, reason="weights do not fit")
    machine.backup("create", machine.models)
    write_repository(machine.models)
    async with TritonServer(machine.models, tmp_path / "triton") as server:
        failed = machine.backup(
            "restore", "models", machine.models, "--replace", "--to-triton", server.http_url, code=1
        )
        assert "weights do not fit" in failed.stderr
        assert "Triton has loaded model 1 from the old folder again." in failed.stderr
    (refused,) = [name for name in os.listdir(tmp_path) if name.startswith(".models.")]  # noqa: PTH208
    assert refused.startswith(".models.refused-")


async def test_a_drill_loads_the_newest_snapshot_in_a_triton_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    machine, scratch = Machine(tmp_path), tmp_path / "scratch"
    machine.backup("init")
    write_repository(machine.models)
    machine.backup("create", machine.models, "--name", "triton")
    scratch.mkdir()
    async with TritonServer(scratch, tmp_path / "triton", models=()) as server:
        words = ("test-restore", "triton", scratch, "--to-triton", server.http_url)
        for _ in range(2):
            assert "; Triton loaded model 1" in machine.backup(*words).stdout
            assert list(scratch.iterdir()) == []
        write_failing_version(machine.models, 1, reason="weights do not fit")
        machine.backup("create", machine.models, "--name", "triton")
        assert "weights do not fit" in machine.backup(*words, code=1).stderr
        assert list(scratch.iterdir()) == []
