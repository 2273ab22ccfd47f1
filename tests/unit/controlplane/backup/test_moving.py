"""Files that change while they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.errors import SourceMoving
from controlplane.backup.sources.walk import Source, Walk, walk
from controlplane.backup.writing import create as creating
from tests.unit.controlplane.backup.world import Clock, content, create, new_store, restore, snapshots, write_files


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
    monkeypatch.setattr(creating, "walk", Growing(tmp_path / "models" / "chat" / "1" / "model.bin", 5))
    with pytest.raises(SourceMoving, match=r"changed each of the 4 times.*chat/1/model\.bin"):
        create(store, tmp_path / "models", clock=clock)
    assert (snapshots(store), clock.paused) == ([], [2.0, 2.0, 2.0])


def test_a_file_that_stops_changing_is_stored_as_it_is_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "models", {"chat/1/model.bin": b"w" * 100, "chat/config.pbtxt": b"x"})
    store, clock = new_store(), Clock()
    monkeypatch.setattr(creating, "walk", Growing(tmp_path / "models" / "chat" / "1" / "model.bin", 3))
    made = create(store, tmp_path / "models", clock=clock)
    restore(store, made, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "models")
    assert clock.paused == [2.0, 2.0]
