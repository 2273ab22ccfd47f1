"""Files that a later run does not read: only those whose mark proves that they did not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.backup.repository import Repository
from controlplane.backup.sources import local, walk
from controlplane.backup.sources.walk import Mark, Source
from controlplane.backup.tally import Tally
from controlplane.backup.writing.create import About, Options, create_snapshot
from tests.unit.controlplane.backup.world import KEY, Clock, new_store, snapshots, write_files

START = Clock().now


class Runs:
    """Backups of one folder by one machine, and which files each of them read."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.store, self.host = root, new_store(), "node-1"
        self.opened: list[str] = []
        original = local.open_source

        def seen(path: Path, size: int) -> int:
            self.opened.append(path.name)
            return original(path, size)

        patch.setattr(local, "open_source", seen)

    def read(self, *, now: float = START, read_all: bool = False) -> list[str]:
        """Back up when the machine's clock shows `now`. Return the names of the files that were read."""
        self.store.now += 60.0
        self.opened.clear()
        clock = Clock(now - 1.0)  # the first look at it shows `now`
        options = Options(lanes=1, read_all=read_all, now=clock, pause=clock.pause)
        about = About("chat", host=self.host)
        create_snapshot(Repository.open(self.store, [KEY]), Source(self.root), about, options=options, tally=Tally())
        return self.opened

    @property
    def changed_at(self) -> float:
        """Time of the file's last change, by the file system."""
        status = (self.root / "model.bin").stat()
        return max(status.st_mtime_ns, status.st_ctime_ns) / 1e9


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    write_files(tmp_path / "models", {"model.bin": b"weights 1"})
    return Runs(tmp_path / "models", monkeypatch)


def test_an_unchanged_file_is_read_once_and_with_read_all_each_time(runs: Runs) -> None:
    assert runs.read() == ["model.bin"]
    assert runs.read() == []
    assert runs.read(read_all=True) == ["model.bin"]
    assert runs.read() == []


def test_a_file_that_changed_in_the_tick_of_the_last_run_is_read_again_until_a_later_run_saw_it(runs: Runs) -> None:
    assert runs.read(now=runs.changed_at) == ["model.bin"]
    assert runs.read(now=runs.changed_at + walk.TICK_S - 0.001) == ["model.bin"]
    assert runs.read(now=runs.changed_at + walk.TICK_S + 1.0) == ["model.bin"]
    assert runs.read(now=runs.changed_at + walk.TICK_S + 2.0) == []


def test_a_second_change_in_one_tick_of_the_clock_is_stored(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file system that counts in seconds gives two writes of one second the same mark.
    status = (runs.root / "model.bin").stat()
    frozen = Mark.of(status)
    monkeypatch.setattr(Mark, "of", classmethod(lambda cls, status: frozen))
    runs.read(now=runs.changed_at)
    (runs.root / "model.bin").write_bytes(b"weights 2")
    runs.read(now=runs.changed_at + 60.0)
    first, second = snapshots(runs.store)
    assert first.digest != second.digest


def test_another_machine_with_equal_numbers_reads_its_own_file(runs: Runs) -> None:
    runs.read()
    runs.host = "node-2"
    assert runs.read() == ["model.bin"]
    runs.host = "node-1"
    assert runs.read() == []


def test_another_file_system_with_equal_numbers_is_read(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.read()
    original = Mark.of
    moved = classmethod(lambda cls, status: replace(original(status), device=original(status).device + 1))
    monkeypatch.setattr(Mark, "of", moved)
    assert runs.read() == ["model.bin"]
    assert runs.read() == []


def test_a_clock_that_is_set_back_during_a_run_proves_nothing(runs: Runs) -> None:
    at = runs.changed_at
    clock = iter([at + 3600.0, at])
    options = Options(lanes=1, now=lambda: next(clock))
    about = About("chat", host=runs.host)
    create_snapshot(Repository.open(runs.store, [KEY]), Source(runs.root), about, options=options)
    assert runs.read() == ["model.bin"]
