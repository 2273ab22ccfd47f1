"""Snapshots that retention may not delete, over a real repository with damage that a verification has found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from controlplane.backup.format.snapshot import Snapshot
from controlplane.backup.pruning.retention import Keep, fates
from controlplane.backup.pruning.whole import last_whole
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository
from controlplane.backup.sources.walk import Source
from controlplane.backup.writing.create import About, Options, create_snapshot
from tests.unit.controlplane.backup.world import KEY, Clock, new_store


class World:
    """A repository of models."""

    def __init__(self, home: Path) -> None:
        self.store, self.models, self.clock = new_store(), home / "models", Clock()
        self.packs: dict[str, str] = {}
        """Name of the pack with the files of each snapshot, by the snapshot's id."""

    def open(self) -> Repository:
        return Repository.open(self.store, [KEY])

    def back_up(self, subject: str, version: str, *folders: str) -> Snapshot:
        """Back folders with new content up, and nothing else. A later snapshot has a later time."""
        shutil.rmtree(self.models, ignore_errors=True)
        for folder in folders:
            (self.models / folder).mkdir(parents=True)
            (self.models / folder / "weights").write_bytes(os.urandom(100_000))
        self.store.now += 3600
        before, options = set(self.store.objects), Options(lanes=1, now=self.clock)
        made = create_snapshot(self.open(), Source(self.models), About(subject, version), options=options).snapshot
        fresh = [name for name in set(self.store.objects) - before if name.startswith("packs/")]
        self.packs[made.id] = max(fresh, key=lambda name: len(self.store.objects[name][0]))
        return made

    def damage(self, snapshot: Snapshot) -> None:
        """Make a file of a snapshot unreadable, and let a verification find it out."""
        body, at = self.store.objects[self.packs[snapshot.id]]
        self.store.objects[self.packs[snapshot.id]] = (body[:50_000] + bytes(1000) + body[51_000:], at)
        assert not verify(self.open()).good


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def kept(world: World, keep: Keep, *paths: str) -> list[str]:
    """Return the reasons for each snapshot, the oldest first; "" for one that goes."""
    repository = world.open()
    snapshots = repository.snapshots(lambda error: pytest.fail(str(error)))
    found = fates(snapshots, keep, last_whole(repository, snapshots, paths))
    return [", ".join(fate.reasons) for fate in found]


def test_while_all_are_whole_the_newest_of_each_version_is_enough(world: World) -> None:
    for version in ("v1", "v2", "v2"):
        world.back_up("chat", version, "chat/1")
    assert kept(world, Keep(last=1)) == ["the newest of chat v1", "", "the newest of chat v2, last"]


def test_the_last_good_snapshot_stays_when_newer_ones_are_damaged(world: World) -> None:
    made = [world.back_up("chat", "v1", "chat/1") for _ in range(4)]
    world.damage(made[2])
    world.damage(made[3])
    assert kept(world, Keep(last=1)) == ["", "the newest whole one of chat v1", "", "the newest of chat v1, last"]
    world.damage(made[1])
    assert kept(world, Keep(last=1))[0] == "the newest whole one of chat v1"


def test_the_newest_snapshot_with_each_version_that_a_rollout_can_go_back_to_stays(world: World) -> None:
    world.back_up("triton", "", "chat/1")
    both = world.back_up("triton", "", "chat/1", "chat/2")
    world.back_up("triton", "", "chat/2")
    world.back_up("triton", "", "chat/2", "chat/3")
    newest = "the newest of triton, last"
    assert kept(world, Keep(last=1), "chat/1", "chat/2", "chat/9") == [
        "", "has chat/1", "", f"has chat/2, {newest}",
    ]  # fmt: skip
    assert kept(world, Keep(last=1)) == ["", "", "", newest]
    world.damage(both)
    assert kept(world, Keep(last=1), "chat/1")[:2] == ["has chat/1", ""], "a damaged one could not be gone back to"


def test_a_path_is_looked_for_in_each_subject_apart(world: World) -> None:
    world.back_up("one", "", "chat/1")
    world.back_up("two", "", "chat/1")
    world.back_up("one", "", "chat/2")
    assert kept(world, Keep(last=1), "chat/1") == [
        "has chat/1", "has chat/1, the newest of two, last", "the newest of one, last",
    ]  # fmt: skip
