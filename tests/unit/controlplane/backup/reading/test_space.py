"""The free space that a restore asks for: holes take none, small files take whole blocks and inodes."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from controlplane.backup.errors import BackupError, NoSpace
from controlplane.backup.format.pack import CHUNK_LIMIT
from controlplane.backup.format.snapshot import Entry, EntryType, Snapshot, read_tree
from controlplane.backup.reading import restore as restoring
from controlplane.backup.reading.restore import SPARE, check_space
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import KEY, create, new_store, restore

BLOCK = 4096


def disk(patch: pytest.MonkeyPatch, *, free: int, inodes: int = 1_000, total_inodes: int = 2_000) -> None:
    status = SimpleNamespace(f_bavail=(free + SPARE) // BLOCK, f_frsize=BLOCK, f_files=total_inodes, f_favail=inodes)
    patch.setattr(restoring.os, "statvfs", lambda path: status)  # type: ignore[attr-defined]


def opened(store: MemoryStore, snapshot: Snapshot) -> tuple[Repository, list[Entry]]:
    repository = Repository.open(store, [KEY])
    return repository, list(read_tree("tree", repository.tree(snapshot)))


def sparse(path: Path, size: int, data: dict[int, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for at, part in data.items():
            file.seek(at)
            file.write(part)


def test_a_sparse_file_needs_the_room_of_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random.Random(1).randbytes(CHUNK_LIMIT)
    # More chunks than a restore writes at once, so that a hole between data shows.
    sparse(tmp_path / "models" / "w.bin", 20 * CHUNK_LIMIT + 17, {0: weights, 2 * CHUNK_LIMIT: weights, 9999: b"x"})
    store = new_store()
    snapshot = create(store, tmp_path / "models")
    repository, entries = opened(store, snapshot)
    restore(store, snapshot, tmp_path / "out")
    restored = tmp_path / "out" / "w.bin"
    assert restored.read_bytes() == (tmp_path / "models" / "w.bin").read_bytes()
    taken = restored.stat().st_blocks * 512
    assert taken <= 2 * CHUNK_LIMIT + BLOCK
    disk(monkeypatch, free=taken + 20 * 2 * BLOCK)
    check_space(repository, tmp_path, entries)
    disk(monkeypatch, free=taken - BLOCK)
    with pytest.raises(NoSpace, match="bytes free, and the restore needs"):
        check_space(repository, tmp_path, entries)


@pytest.mark.parametrize("size", [3 * CHUNK_LIMIT, 3 * CHUNK_LIMIT + 1, 17 * CHUNK_LIMIT - 5])
def test_a_file_of_zeros_is_one_hole(tmp_path: Path, size: int) -> None:
    sparse(tmp_path / "models" / "w.bin", size, {})
    store = new_store()
    restore(store, create(store, tmp_path / "models"), tmp_path / "out")
    status = (tmp_path / "out" / "w.bin").stat()
    assert (status.st_size, status.st_blocks) == (size, 0)


def test_small_files_take_whole_blocks_and_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository.open(new_store(), [KEY])
    entries = [Entry(f"{number}", EntryType.FILE, size=1) for number in range(100)]
    entries += [Entry(f"same-{number}", EntryType.SAME, target="0") for number in range(100)]
    disk(monkeypatch, free=100 * BLOCK, inodes=100)
    check_space(repository, tmp_path, entries)
    disk(monkeypatch, free=99 * BLOCK)
    with pytest.raises(NoSpace, match="needs 409600"):
        check_space(repository, tmp_path, entries)
    disk(monkeypatch, free=100 * BLOCK, inodes=99)
    with pytest.raises(NoSpace, match="99 inodes free, and the restore needs 100"):
        check_space(repository, tmp_path, entries)
    disk(monkeypatch, free=100 * BLOCK, inodes=0, total_inodes=0)
    check_space(repository, tmp_path, entries)


def test_a_folder_that_this_user_may_not_look_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(BackupError, match="the restore cannot write /root/x: Permission denied"):
        check_space(Repository.open(new_store(), [KEY]), Path("/root/x"), ())
