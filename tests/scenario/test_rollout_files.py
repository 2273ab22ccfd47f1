"""Rollouts that know what they serve: real files on disk, from the request to the end, on a virtual clock."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.backup.content.reading import read_content
from controlplane.backup.errors import BackupError
from controlplane.errors import Refused
from controlplane.rollout import files as rollout_files
from controlplane.rollout.files import SHORT, VersionFiles
from controlplane.rollout.findings import Finding, Outcome, Work, WorkKind
from controlplane.rollout.handlers.situation import AGAIN_S
from controlplane.rollout.model import Phase, Rollout, StepKind
from controlplane.rollout.work.files import FilesWorker
from controlplane.rollout.workers import Worker
from controlplane.store.audit import AuditStore
from controlplane.store.version_files import FilesApproval, VersionFileStore
from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.rollout_world import START
from tests.fakes.version_reader import InProcessReader
from tests.unit.controlplane.backup.content.model_files import model
from tests.unit.controlplane.backup.world import write_files


class Content:
    """A worker of looks that finds nothing against the candidate."""

    async def run(self, rollout: Rollout, work: Work, since: float, before: Finding | None) -> Finding:
        return Finding(Outcome.PASS, ("nothing speaks against it",))


class Rig:
    """The world, the folder of the models, and the reader of files."""

    def __init__(self, models: Path) -> None:
        self.models, self.reader = models, InProcessReader()

    world: GatewayWorld

    @property
    def store(self) -> VersionFileStore:
        return VersionFileStore(self.world.db)

    def files(self, world: GatewayWorld) -> VersionFiles:
        return VersionFiles(VersionFileStore(world.db), self.reader, world.clock.now)

    def workers(self, world: GatewayWorld) -> Mapping[WorkKind, Worker]:
        return {WorkKind.FILES: FilesWorker(self.files(world), lambda name: world.section), WorkKind.LOOK: Content()}

    def digest(self, version: str = "v2") -> str:
        return read_content(self.models / version).digest

    def change(self, version: str = "v2") -> None:
        write_files(self.models / version, {"tokenizer.json": b'{"version": "2.0"}'})

    async def refused(self, version: str = "v2") -> list[str]:
        with pytest.raises(Refused) as refused:
            await self.world.start(version)
        return list(refused.value.reasons)


@asynccontextmanager
async def rig(folder: Path, **options: Any) -> AsyncIterator[Rig]:
    made = Rig(folder / "models")
    for number, version in enumerate(("v1", "v2", "v3")):
        write_files(made.models / version, model(number))
    async with GatewayWorld(
        folder, files=made.files, workers=made.workers, places=f"{made.models}/{{version}}", **options
    ) as made.world:
        yield made


async def test_a_rollout_records_the_digest_that_it_serves_and_approves_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        started = await it.world.start()
        expected = it.digest()
        assert f"the files of v2 have the digest {expected[:SHORT]}; if they change, it goes back" in started.notes
        kinds = [step.kind for step in started.plan.steps]
        before = (kinds.index(StepKind.BRING_UP), kinds.index(StepKind.SHIFT))
        assert kinds[0] is StepKind.FILES
        assert kinds[before[1] - 1] is StepKind.FILES
        await it.world.timeline()
        latest = await it.world.latest()
        assert (latest.phase, latest.digest) == (Phase.SUCCEEDED, expected)
        approved = it.store.approved("chat", "v2")
        assert approved is not None
        assert (approved.digest, approved.by, approved.rollout_id) == (expected, "ann", started.id)
        acts = [act.action for act in AuditStore(it.world.db).recent(10)]
        assert acts.count("files.approve") == 1


async def test_a_promotion_to_changed_files_is_refused_until_somebody_approves_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        before = it.digest()
        it.store.approve(FilesApproval("chat", "v2", before, START, "bob", reason="built by CI"))
        it.change()
        assert await it.refused() == [
            f"the files of v2 are not those that were approved by bob: their digest was {before[:SHORT]} and is "
            f"{it.digest()[:SHORT]}; bring the approved files back, or give the new ones a version of their own, or "
            "accept them: `cp models approve chat v2 --reason TEXT`"
        ]
        it.store.approve(FilesApproval("chat", "v2", it.digest(), START, "bob", reason="tokenizer fixed"))
        await it.world.start()
        await it.world.timeline()
        assert (await it.world.latest()).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("strategy", ["blue-green", "canary"])
async def test_files_that_change_while_the_candidate_loads_get_no_request(tmp_path: Path, strategy: str) -> None:
    async with rig(tmp_path) as it:
        await it.world.start(strategy=strategy)
        pinned = it.digest()
        await it.world.tick()
        it.change()
        lines = await it.world.timeline()
        latest = await it.world.latest()
        assert latest.phase is Phase.FAILED, "no traffic had moved"
        assert latest.digest == pinned
        assert f"the files of v2 changed during the rollout: their digest was {pinned[:SHORT]}" in lines[-1]
        assert "`cp models approve chat v2 --reason TEXT`" in latest.reason
        assert it.world.weights() in ({}, {"v1": 1000})


async def test_files_that_change_between_two_shares_bring_the_old_version_back(tmp_path: Path) -> None:
    async with rig(tmp_path, rollout={"steps": ["5%"]}) as it:
        it.world.requests = 1000
        await it.world.start(strategy="canary")
        for _ in range(40):
            await it.world.tick()
            if it.world.weights().get("v2"):
                break
        it.change()
        for _ in range(400):
            await it.world.tick(5.0)
            if (latest := await it.world.latest()).finished:
                break
        assert latest.phase is Phase.ROLLED_BACK
        assert latest.reason.startswith("v2 is refused: the files of v2 changed during the rollout")
        assert it.world.weights() == {"v1": 1000}


async def test_a_new_approval_during_a_rollout_does_not_let_other_files_pass(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.world.start()
        await it.world.tick()
        it.change()
        it.store.approve(FilesApproval("chat", "v2", it.digest(), START, "bob"))
        await it.world.timeline()
        assert (await it.world.latest()).phase is Phase.FAILED


async def test_missing_files_refuse_a_promotion_and_name_the_cure(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        shutil.rmtree(it.models / "v2")
        assert await it.refused() == [
            f"the files of v2 cannot be checked: {it.models}/v2 cannot be read: No such file or directory; copy them "
            "again, or change `files:` of chat in fleet.yaml"
        ]


async def test_a_disk_that_is_not_mounted_refuses_a_promotion(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        shutil.rmtree(it.models / "v2")
        (it.models / "v2").mkdir()
        (reason,) = await it.refused()
        assert reason.startswith(f"the files of v2 cannot be checked: {it.models}/v2 holds no files; copy them again")
        assert it.store.approved("chat", "v2") is None


async def test_a_file_server_that_is_away_during_a_rollout_holds_it_up_and_costs_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.world.start()
        it.reader.faults[it.models / "v2"] = BackupError("the server is away")
        line = await it.world.tick()
        line = await it.world.tick()
        assert line.endswith("Reading the files of v2: the files of v2 cannot be checked: the server is away")
        it.reader.faults.clear()
        for _ in range(60):
            await it.world.tick(AGAIN_S)
            if (await it.world.latest()).finished:
                break
        assert (await it.world.latest()).phase is Phase.SUCCEEDED


async def test_a_file_server_that_stays_away_asks_an_operator(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        started = await it.world.start()
        it.reader.faults[it.models / "v2"] = BackupError("the server is away")
        for _ in range(400):
            line = await it.world.tick(AGAIN_S)
            if "resume" in line:
                break
        assert f"`cp rollouts resume {started.id}` goes on, `cp rollouts abort {started.id}` goes back" in line
        await it.world.service.abort(started.id, actor="ann")
        await it.world.timeline()
        assert (await it.world.latest()).phase is Phase.FAILED


async def test_files_that_take_long_are_read_by_the_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_files, "PLAN_S", 0.05)
    async with rig(tmp_path) as it:
        it.reader.hangs.add(it.models / "v2")
        started = await it.world.start()
        assert "the files of v2 are still being read; the rollout waits, and goes back if they changed" in started.notes
        await it.world.engine.tick(it.world.clock.now())
        assert (await it.world.line()).endswith("Reading the files of v2")
        it.reader.released.set()
        await it.world.timeline()
        assert (await it.world.latest()).digest == it.digest()


async def test_a_control_plane_that_dies_goes_on_with_the_digest_that_it_pinned(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.world.start()
        pinned = it.digest()
        await it.world.tick()
        await it.world.tick()
        assert (await it.world.latest()).digest == pinned
        await it.world.crash()
        it.change()
        await it.world.timeline()
        latest = await it.world.latest()
        assert (latest.phase, latest.digest) == (Phase.FAILED, pinned)


async def test_a_rollback_to_changed_files_is_told_and_not_held_up(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.store.approve(FilesApproval("chat", "v1", it.digest("v1"), START, "bob"))
        await it.world.start()
        await it.world.timeline()
        it.change("v1")
        rollback = await it.world.service.rollback("chat", actor="ann", reason="bad answers")
        (doubt,) = [note for note in rollback.notes if "files of v1" in note]
        assert doubt.startswith("the files of v1 are not those that were approved by bob: their digest was ")
        assert doubt.endswith(": a server that loads v1 again gets the changed files")
        assert StepKind.FILES not in {step.kind for step in rollback.plan.steps}
        await it.world.timeline()
        latest = await it.world.latest()
        assert (latest.phase, latest.plan.to_version) == (Phase.SUCCEEDED, "v1")


async def test_a_promotion_tells_that_the_files_of_the_way_back_changed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.store.approve(FilesApproval("chat", "v1", it.digest("v1"), START, "bob"))
        it.change("v1")
        started = await it.world.start()
        assert any(note.startswith("the files of v1 are not those that were approved by bob") for note in started.notes)


async def test_an_adapter_whose_base_changed_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        shutil.rmtree(it.models / "v2")
        base = it.models / "base"
        write_files(base, model(9))
        config = f'{{"base_model_name_or_path": "{base}"}}'.encode()
        write_files(it.models / "v2", {"adapter_config.json": config})
        await it.world.start()
        await it.world.timeline()
        approved = it.store.approved("chat", "v2")
        assert approved is not None
        assert approved.base == read_content(base).digest
        await it.world.service.rollback("chat", actor="ann", quarantine=False)
        await it.world.timeline()
        write_files(base, {"config.json": b"{}"})
        (reason,) = await it.refused()
        assert reason.startswith("the base model of v2 is not the one that was approved by rollout r-")


async def test_a_model_without_files_is_not_checked(tmp_path: Path) -> None:
    made = Rig(tmp_path / "models")
    async with GatewayWorld(tmp_path, files=made.files, workers=made.workers) as made.world:
        started = await made.world.start()
        assert StepKind.FILES not in {step.kind for step in started.plan.steps}
        await made.world.timeline()
        latest = await made.world.latest()
        assert (latest.phase, latest.digest, made.reader.read_paths) == (Phase.SUCCEEDED, "", [])
