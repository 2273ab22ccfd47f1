"""The look at versions on disk and in backups: with the real verbs on a real repository, on a virtual clock."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from controlplane.app.parts.part import Configuration
from controlplane.app.parts.version_files import (
    AGAIN_S,
    BACKUPS_S,
    FAULT_S,
    MOST_FAULTS,
    SNAPSHOTS,
    UNDECLARED,
    VersionFilesPart,
)
from controlplane.backup.content.child import ContentReader, Head
from controlplane.backup.content.in_snapshot import FolderContent
from controlplane.backup.content.reading import Content, read_content
from controlplane.backup.errors import BackupError
from controlplane.backup.jobs.command import Place
from controlplane.cli.main import run
from controlplane.config.loader import load_fleet
from controlplane.schedule import LoopFactory
from controlplane.store.database import Database
from controlplane.store.lease import LeaseStore
from controlplane.store.schedules import ScheduleStore
from controlplane.store.version_files import Found
from tests.fakes.migrated import write_migrated
from tests.fakes.rollout_world import VirtualClock
from tests.unit.controlplane.backup.content.model_files import COMMIT, cached, model
from tests.unit.controlplane.backup.world import write_files

FLEET = """
fleet: {{name: test}}
models:
  - name: chat
    stable: v1
    traffic: {{driver: none}}
    files: "{models}/chat/{{number}}"
    versions:
      v1: {{backends: [{{url: "http://127.0.0.1:1", engine: vllm}}]}}
      v2: {{backends: [{{url: "http://127.0.0.1:2", engine: vllm}}]}}
"""
BACKUP = """
backup:
  repository: file://{home}/repository
  key_file: {home}/backup.key
  jobs: [{{name: plane, control_plane: true, schedule: "@daily"}}]
"""


class CountingReader(ContentReader):
    """Runs the real verbs and counts them. It can make a repository of many snapshots, or one that is away."""

    def __init__(self, memory: Path) -> None:
        super().__init__(memory)
        self.read_paths: list[Path] = []
        self.looked: list[str] = []
        self.heads: list[Head] | None = None
        self.fault: BackupError | None = None
        self.damaged: set[str] = set()
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []
        """Happen while the disk, or the repository, is looked at next."""

    async def read(self, root: Path) -> Content:
        self.read_paths.append(root)
        return await super().read(root)

    async def existing(self, globs: Sequence[str]) -> list[Path]:
        await self._meanwhile()
        return await super().existing(globs)

    async def _meanwhile(self) -> None:
        if self.meanwhile:
            await self.meanwhile.pop()()

    async def snapshots(self, place: Place) -> list[Head]:
        await self._meanwhile()
        if self.fault is not None:
            raise self.fault
        return await super().snapshots(place) if self.heads is None else self.heads

    async def in_snapshot(self, place: Place, snapshot: str, globs: Sequence[str]) -> list[FolderContent]:
        self.looked.append(snapshot)
        if snapshot in self.damaged:
            raise BackupError(f"the tree of {snapshot} is damaged")
        return [] if self.heads is not None else await super().in_snapshot(place, snapshot, globs)


class Plane:
    """One process of a control plane."""

    def __init__(self, home: Path, db: Database) -> None:
        self.home, self.models, self.clock = home, home / "models", VirtualClock()
        self.reader = CountingReader(home / "data" / "memory")
        self.part = VersionFilesPart(db, self.clock, home / "data", self.reader)
        (self.loop,) = self.part.loops(LoopFactory(LeaseStore(db), ScheduleStore(db), "a", self.clock))

    async def configure(self, text: str = FLEET) -> None:
        path = self.home / "fleet.yaml"
        path.write_text(text.format(home=self.home, models=self.models))
        await self.part.configure(self.part.settings(Configuration(load_fleet(path), "127.0.0.1:8080")))

    async def look(self, seconds: float = 0.0) -> list[Found]:
        """Let `seconds` pass, take a turn, and return what is known."""
        self.clock.time += seconds
        await self.loop.run_once()
        assert self.loop.stats.last_error is None
        return self.part.store.contents("chat")

    def digest(self, folder: str) -> str:
        return read_content(self.models / folder).digest


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    db = Database(write_migrated(tmp_path / "cp.db"))
    made = Plane(tmp_path, db)
    for number in (1, 2):
        write_files(made.models / "chat" / str(number), model(number))
    yield made
    db.close()


def backed_up(plane: Plane, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setenv("CP_BACKUP_REPOSITORY", f"file://{plane.home}/repository")
    monkeypatch.setenv("CP_BACKUP_KEY_FILE", f"{plane.home}/backup.key")
    if not (plane.home / "backup.key").exists():
        assert run(["backup", "init"]) == 0
    assert run(["backup", "create", *words]) == 0


def heads_of(plane: Plane, count: int) -> list[Head]:
    return [Head(f"s{n}", 1.0, "triton", "", f"file://{plane.models}", "h", "b") for n in range(count)]


async def test_versions_on_disk_are_read_and_looked_at_again_after_an_hour(plane: Plane) -> None:
    await plane.configure()
    one, two = await plane.look()
    assert (one.version, one.place, one.digest) == ("v1", f"{plane.models}/chat/1", plane.digest("chat/1"))
    assert (two.version, two.digest, two.facts["format"]) == ("v2", plane.digest("chat/2"), "safetensors")
    await plane.look(AGAIN_S - 1)
    assert len(plane.reader.read_paths) == 2
    write_files(plane.models, {"chat/2/tokenizer.json": b"{}"})
    found = await plane.look(1)
    assert len(plane.reader.read_paths) == 4
    assert (found[1].digest, found[1].changed_at) == (plane.digest("chat/2"), plane.clock.now())
    assert found[0].changed_at == one.changed_at


async def test_files_that_cannot_be_read_are_told_and_tried_again_soon(plane: Plane) -> None:
    await plane.configure()
    shutil.move(plane.models / "chat" / "2", plane.home / "away")
    found = await plane.look()
    assert (found[1].digest, found[1].fault) == ("", f"{plane.models}/chat/2 cannot be read: No such file or directory")
    shutil.move(plane.home / "away", plane.models / "chat" / "2")
    assert (await plane.look(FAULT_S - 1))[1].fault != ""
    found = await plane.look(1)
    assert (found[1].digest, found[1].fault) == (plane.digest("chat/2"), "")


async def test_versions_that_fleet_yaml_does_not_declare_are_listed_and_not_read(plane: Plane) -> None:
    write_files(plane.models, {"chat/7/model.onnx": b"1", "chat/config.pbtxt": b"", "chat/old/model.onnx": b"1"})
    await plane.configure()
    found = await plane.look()
    assert [(one.version, one.digest, one.fault) for one in found[2:]] == [("v7", "", UNDECLARED)]
    assert len(plane.reader.read_paths) == 2
    shutil.rmtree(plane.models / "chat" / "7")
    assert [one.version for one in await plane.look(AGAIN_S)] == ["v1", "v2"]


async def test_a_reload_forgets_places_that_are_not_named_any_more(plane: Plane) -> None:
    await plane.configure()
    await plane.look()
    await plane.configure(FLEET.replace("{{number}}", "v{{number}}"))
    found = await plane.look()
    assert [one.place for one in found] == [f"{plane.models}/chat/v1", f"{plane.models}/chat/v2"]
    assert all(one.fault for one in found)


async def test_a_reload_while_the_disk_is_listed_is_followed_by_another_list(plane: Plane) -> None:
    write_files(plane.models, {"chat/v1/model.onnx": b"1", "chat/v7/model.onnx": b"1"})
    renamed = FLEET.replace("{{number}}", "v{{number}}")
    await plane.configure()
    plane.reader.meanwhile.append(lambda: plane.configure(renamed))
    await plane.look()
    found = await plane.look(1)
    assert [one.place for one in found if one.fault == UNDECLARED] == [f"{plane.models}/chat/v7"]


async def test_versions_are_found_in_snapshots_of_their_repository_and_of_themselves(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(plane.models, {"chat/9/model.onnx": b"1", "embed/1/model.onnx": b"1"})
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    shutil.rmtree(plane.models / "chat" / "9")
    backed_up(plane, monkeypatch, str(plane.models / "chat" / "2"), "--name=chat", "--version=v2")
    await plane.configure(FLEET + BACKUP)
    found = [one for one in await plane.look() if one.snapshot]
    folders = sorted((one.version, one.place.partition(":")[2]) for one in found)
    assert folders == [("v1", "chat/1"), ("v2", "."), ("v2", "chat/2"), ("v9", "chat/9")]
    digests = {(one.version, one.digest) for one in found if one.version != "v9"}
    assert digests == {("v1", plane.digest("chat/1")), ("v2", plane.digest("chat/2"))}
    (own,) = [one for one in found if one.place.endswith(":.")]
    assert (own.facts["format"], own.facts["quantisation"]) == ("safetensors", "BF16")
    assert all(one.stored_at and one.host and one.by for one in found)


async def test_a_snapshot_is_looked_into_once_and_forgotten_when_it_is_gone(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    await plane.configure(FLEET + BACKUP)
    await plane.look()
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    await plane.look(BACKUPS_S - 1)
    assert len(plane.reader.looked) == 1
    await plane.look(1)
    await plane.look(BACKUPS_S)
    assert len(plane.reader.looked) == len(set(plane.reader.looked)) == 2
    first = plane.reader.looked[0]
    (head,) = (plane.home / "repository" / "snapshots").glob(f"{first}*")
    head.unlink()
    found = await plane.look(BACKUPS_S)
    assert {one.snapshot for one in found if one.snapshot} == {plane.reader.looked[1]}


async def test_a_version_that_links_into_the_cache_is_found_in_backups_of_the_cache(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(plane.models / "chat" / "2")
    (plane.models / "chat" / "2").symlink_to(cached(plane.home / "hub", model(5)))
    backed_up(plane, monkeypatch, str(plane.home / "hub" / "models--org--chat"), "--name=hub")
    await plane.configure(FLEET + BACKUP)
    found = await plane.look()
    disk, copy = [one for one in found if one.version == "v2"]
    assert (copy.place.partition(":")[2], copy.digest) == (f"snapshots/{COMMIT}", disk.digest)
    (plane.models / "chat" / "2").unlink()
    (plane.models / "chat" / "2").symlink_to(plane.models / "chat" / "1")
    found = await plane.look(AGAIN_S)
    assert [one.place for one in found if one.snapshot] == []


async def test_only_a_reload_that_names_other_files_looks_into_snapshots_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    await plane.configure(FLEET + BACKUP)
    await plane.look()
    await plane.configure(FLEET.replace("127.0.0.1:2", "127.0.0.1:3") + BACKUP)
    await plane.look()
    assert len(plane.reader.looked) == 1
    await plane.configure(FLEET.replace("name: chat", "name: talk") + BACKUP)
    assert await plane.look() == []
    assert len(plane.reader.looked) == 2
    assert {one.model for one in plane.part.store.contents()} == {"talk"}


async def test_many_snapshots_are_looked_into_over_several_turns(plane: Plane) -> None:
    plane.reader.heads = heads = heads_of(plane, SNAPSHOTS + 1)
    await plane.configure(FLEET + BACKUP)
    await plane.look()
    assert len(plane.reader.looked) == SNAPSHOTS
    await plane.look(1)
    assert plane.reader.looked == [head.id for head in heads]


async def test_a_damaged_snapshot_is_told_once_and_the_others_are_looked_into(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    await plane.configure(FLEET + BACKUP)
    place = Place(f"file://{plane.home}/repository", plane.home / "backup.key", plane.home, plane.home)
    newest, older = (head.id for head in await plane.reader.snapshots(place))
    plane.reader.damaged = {newest}
    for _ in range(3):
        found = [one for one in await plane.look(BACKUPS_S) if one.snapshot]
        assert {one.snapshot for one in found} == {older}
    assert plane.reader.looked == [newest, older, newest, newest]
    told = [record.message for record in caplog.records if "damaged" in record.message]
    assert told == [f"versions in the snapshot {newest} cannot be found: the tree of {newest} is damaged"]
    plane.reader.damaged = set()
    assert {one.snapshot for one in await plane.look(BACKUPS_S) if one.snapshot} == {newest, older}


async def test_a_turn_ends_when_several_in_a_row_fail_and_the_next_one_begins_with_others(plane: Plane) -> None:
    plane.reader.heads = heads_of(plane, SNAPSHOTS + 2 * MOST_FAULTS)
    plane.reader.damaged = {head.id for head in plane.reader.heads}
    await plane.configure(FLEET + BACKUP)
    await plane.look()
    assert plane.reader.looked == ["s0", "s1", "s2"]
    await plane.look(BACKUPS_S - 1)
    assert len(plane.reader.looked) == MOST_FAULTS
    await plane.look(1)
    assert plane.reader.looked[MOST_FAULTS:] == ["s3", "s4", "s5"]
    plane.reader.damaged = {"s3"}
    for _ in range(2):
        await plane.look(BACKUPS_S)
    others = [head.id for head in plane.reader.heads[2 * MOST_FAULTS :]]
    assert plane.reader.looked[2 * MOST_FAULTS :] == [*others, "s0", "s1", "s2", "s3", "s4", "s5"]


async def test_a_snapshot_that_the_list_leaves_out_once_is_found_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    await plane.configure(FLEET + BACKUP)
    known = [one.place for one in await plane.look()]
    plane.reader.heads = []
    assert not any(one.snapshot for one in await plane.look(BACKUPS_S))
    plane.reader.heads = None
    assert [one.place for one in await plane.look(BACKUPS_S)] == known and len(known) == 4


async def test_a_repository_that_is_away_is_told_once_and_keeps_what_is_known(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backed_up(plane, monkeypatch, str(plane.models), "--name=triton")
    await plane.configure(FLEET + BACKUP)
    known = [one.place for one in await plane.look()]
    plane.reader.fault = BackupError("the bucket is away")
    for _ in range(3):
        assert [one.place for one in await plane.look(BACKUPS_S)] == known
    told = [record.message for record in caplog.records if "bucket" in record.message]
    assert told == ["versions in backups cannot be found: the bucket is away"]


async def test_a_fleet_without_files_and_backups_takes_no_turn(plane: Plane) -> None:
    await plane.configure(FLEET.replace('    files: "{models}/chat/{{number}}"\n', ""))
    assert await plane.look() == []
    assert plane.loop.stats.ticks == 0
