"""The works of jobs with the real verbs, over a real repository."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.command import Place, drill_work, job_work, verify_work
from controlplane.backup.jobs.run import BackupRunner
from controlplane.config.backup.section import BackupDrillSection, BackupJobSection, BackupVerifySection, KeepSection
from controlplane.config.schedules import ScheduleSection
from tests.patience import PROCESS_S
from tests.unit.controlplane.backup.jobs.conftest import World

DAILY = ScheduleSection(cron="@daily")


def init(place: Place) -> None:
    words = ["backup", "init", "--repository", place.repository, "--key-file", str(place.key_file)]
    subprocess.run([sys.executable, "-m", "controlplane", *words], check=True, timeout=PROCESS_S)


async def test_a_folder_the_control_plane_and_a_verification(world: World, tmp_path: Path) -> None:
    place = replace(world.place, repository=(tmp_path / "repository").as_uri(), data_dir=tmp_path / "data")
    place.data_dir.mkdir()
    place.config.write_text("fleet: {name: test}\ndatabase: sqlite:///" + str(tmp_path / "a.db"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_bytes(os.urandom(100_000))
    init(place)
    runner = BackupRunner(world.runs, world.clock)

    keep = KeepSection(last=1)
    folder = BackupJobSection(name="models", folder=tmp_path / "models", version="v1", schedule=DAILY, keep=keep)
    first = await runner.run(job_work(folder, place), place, None)
    assert first.succeeded and first.bytes == 100_000 and first.new_bytes is not None and first.new_bytes >= 100_000
    second = await runner.run(job_work(folder, place), place, None)
    assert second.snapshot != first.snapshot and second.words == "" and second.new_bytes == 0
    plane = BackupJobSection(name="plane", control_plane=True, schedule=DAILY, keep=keep)
    assert (await runner.run(job_work(plane, place), place, None)).succeeded
    assert len(list((tmp_path / "repository" / "snapshots").iterdir())) == 2, "the prune left one of each subject"

    drill = BackupDrillSection(schedule=DAILY, scratch=tmp_path / "scratch")
    tried = await runner.run(drill_work(drill, folder), place, None)
    assert tried.snapshot == second.snapshot and tried.bytes == 100_000
    assert "of models@v1 was restored: 1 file, 97.7 KiB, in" in tried.words
    assert "the database is whole, with" in (await runner.run(drill_work(drill, plane), place, None)).words
    assert list(drill.scratch.iterdir()) == []

    bucket = BackupJobSection(name="b", folder="s3://models/triton", schedule=DAILY)
    assert job_work(bucket, place).command[:3] == ("backup", "create", "s3://models/triton")
    sampled = BackupJobSection(name="p", control_plane=True, with_metrics=True, schedule=DAILY)
    assert "--with-metrics" in job_work(sampled, place).command

    verify = verify_work(BackupVerifySection(schedule=DAILY, sample=100))
    assert "packs were read, and are whole" in (await runner.run(verify, place, None)).words
    for pack in (tmp_path / "repository" / "packs").glob("*/*"):
        pack.write_bytes(bytes(pack.stat().st_size))
    with pytest.raises(BackupError, match="the repository is damaged"):
        await runner.run(verify, place, None)
    with pytest.raises(BackupError, match=r"the backup drill-models failed: .* is damaged"):
        await runner.run(drill_work(drill, folder), place, None)
    assert list(drill.scratch.iterdir()) == []
