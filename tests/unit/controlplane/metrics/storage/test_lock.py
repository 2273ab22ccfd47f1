from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from controlplane.metrics.storage.errors import StorageError, StorageLocked
from controlplane.metrics.storage.lock import lock_folder


def test_a_folder_is_made_and_locked_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "metrics"
    lock = lock_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(StorageLocked, match="metrics: another control plane keeps its metrics here"):
        lock_folder(folder)
    os.close(lock)
    os.close(lock_folder(folder))


def test_a_file_system_that_cannot_lock_is_not_taken_for_another_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="cannot be locked: No locks available; metrics need a local") as e:
        lock_folder(tmp_path)
    assert not isinstance(e.value, StorageLocked)
