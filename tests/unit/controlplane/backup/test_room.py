"""Free space of a repository in a folder, also on a file system that hangs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from controlplane.backup.room import Room, RoomWatch, measured
from tests.patience import HANG_S
from tests.unit.controlplane.backup.world import Clock


class Disk:
    """A file system that answers, or hangs until it is let go."""

    def __init__(self) -> None:
        self.time, self.free, self.calls = 1000.0, 50, 0
        self.answers = threading.Event()
        self.answers.set()
        self.broken = False

    def measure(self, folder: Path) -> Room:
        self.calls += 1
        self.answers.wait(HANG_S)
        if self.broken:
            raise OSError(5, "Input/output error")
        return Room(self.free, 100)

    def watch(self, patience_s: float = HANG_S) -> RoomWatch:
        return RoomWatch(self.measure, lambda: self.time, patience_s)


def test_it_is_measured_at_most_every_30_seconds() -> None:
    disk = Disk()
    watch = disk.watch()
    assert watch.room("file:///backups") == Room(50, 100)
    disk.free = 40
    disk.time += 29
    assert watch.room("/backups") == Room(50, 100) and disk.calls == 1, "one folder under two addresses"
    disk.time += 1
    assert watch.room("/backups") == Room(40, 100)
    disk.free = 30
    assert watch.room("/other") == Room(30, 100), "another repository is measured at once"


def test_a_file_system_that_hangs_keeps_one_thread_and_no_reader() -> None:
    disk = Disk()
    watch = disk.watch()
    watch.room("/backups")
    disk.answers.clear()
    watch._patience_s = 0.01
    disk.time += 60
    assert [watch.room("/backups") for _ in range(3)] == [Room(50, 100)] * 3 and disk.calls == 2
    disk.time += 240
    assert watch.room("/backups") is None and disk.calls == 2
    disk.answers.set()
    watch._patience_s = HANG_S
    assert watch.room("/backups") == Room(50, 100)


def test_what_cannot_be_measured_is_not_known() -> None:
    disk = Disk()
    disk.broken = True
    assert disk.watch().room("/backups") is None
    for address in ("s3://bucket/llm", "gs://bucket", "az://c/p", "file://host/backups"):
        assert disk.watch().room(address) is None
    assert disk.calls == 1


def test_a_real_file_system(tmp_path: Path) -> None:
    found = RoomWatch(patience_s=HANG_S, clock=Clock()).room(tmp_path.as_uri())
    assert found is not None and 0 < found.free <= found.size
    with pytest.raises(FileNotFoundError):
        measured(tmp_path / "missing")
