"""Files that change while they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.errors import SourceIncomplete, SourceMoving
from controlplane.backup.repository import Repository
from controlplane.backup.sources import local
from controlplane.backup.sources.walk import Source, Walk, walk
from controlplane.backup.writing.create import About, Created, Options, create_snapshot
from tests.unit.controlplane.backup.world import (
    KEY,
    Clock,
    content,
    create,
    new_store,
    restore,
    snapshots,
    write_files,
)


class Growing:
    """A walk before which a file grows, for the first `times` walks."""

    def __init__(self, path: Path, times: int) -> None:
        self.path, self.times = path, times

    def __call__(self, source: Source) -> Walk:
        if self.times:
            self.times -= 1
            with self.path.open("ab") as file:
                file.write(b"x")
        return walk(source)


def test_a_file_that_goes_on_changing_is_named_and_makes_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "models", {"chat/1/model.bin": b"w" * 100, "chat/config.pbtxt": b"x"})
    store, clock = new_store(), Clock()
    monkeypatch.setattr(local, "walk", Growing(tmp_path / "models" / "chat" / "1" / "model.bin", 5))
    with pytest.raises(SourceMoving, match=r"changed each of the 4 times.*chat/1/model\.bin"):
        create(store, tmp_path / "models", clock=clock)
    assert (snapshots(store), clock.paused) == ([], [2.0, 2.0, 2.0])


def test_a_file_that_stops_changing_is_stored_as_it_is_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "models", {"chat/1/model.bin": b"w" * 100, "chat/config.pbtxt": b"x"})
    store, clock = new_store(), Clock()
    monkeypatch.setattr(local, "walk", Growing(tmp_path / "models" / "chat" / "1" / "model.bin", 3))
    made = create(store, tmp_path / "models", clock=clock)
    restore(store, made, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "models")
    assert clock.paused == [2.0, 2.0]


class Vanishing:
    """A walk after which something is deleted, once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, source: Source) -> Walk:
        walked = walk(source)
        self.path.unlink(missing_ok=True)
        return walked


def made(root: Path) -> Created:
    clock = Clock()
    options = Options(lanes=1, now=clock, pause=clock.pause)
    return create_snapshot(Repository.open(new_store(), [KEY]), Source(root), About("chat"), options=options)


def test_a_file_that_is_deleted_while_the_backup_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"chat/1/model.bin": b"w" * 100, "chat/config.pbtxt": b"x"})
    monkeypatch.setattr(local, "walk", Vanishing(tmp_path / "chat" / "config.pbtxt"))
    created = made(tmp_path)
    assert created.snapshot.files == 1
    told = "deleted while the backup ran, so the snapshot is without them: chat/config.pbtxt"
    assert told in created.notes


def test_a_shard_that_is_deleted_while_the_backup_runs_refuses_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = b'{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}'
    write_files(tmp_path, {"model.safetensors.index.json": index, "1.safetensors": b"1", "2.safetensors": b"2"})
    monkeypatch.setattr(local, "walk", Vanishing(tmp_path / "2.safetensors"))
    with pytest.raises(SourceIncomplete, match=r"names 1 files that are missing: 2\.safetensors"):
        made(tmp_path)


def test_a_file_whose_name_a_folder_takes_is_read_as_what_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"chat/model.bin": b"w" * 100, "chat/config.pbtxt": b"x"})
    path = tmp_path / "chat" / "model.bin"

    def replacing(source: Source) -> Walk:
        walked = walk(source)
        if path.is_file():
            path.unlink()
            path.mkdir()
        return walked

    monkeypatch.setattr(local, "walk", replacing)
    assert made(tmp_path).snapshot.files == 1
