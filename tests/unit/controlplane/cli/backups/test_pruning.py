"""`backup prune` beside a store that does not answer, and beside a rotation of the keys: no head may go then."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError, StoreUnreachable
from controlplane.backup.keys.changing import rotate
from controlplane.backup.repository import Repository
from controlplane.cli.backups import pruning
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import KEY, create, new_store


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """A repository with a snapshot that has chat/1, and a newer one that has not."""
    store, models = new_store(), tmp_path / "models"
    for version in ("1", "2"):
        shutil.rmtree(models, ignore_errors=True)
        (models / "chat" / version).mkdir(parents=True)
        (models / "chat" / version / "weights").write_bytes(os.urandom(100_000))
        store.now += 3600
        create(store, models, "triton")
    return store


def heads(store: MemoryStore) -> list[str]:
    return sorted(name for name in store.objects if name.startswith("snapshots/"))


def prune(monkeypatch: pytest.MonkeyPatch, repository: Repository) -> None:
    """Keep the newest snapshot, and the newest whole one with chat/1."""
    monkeypatch.setattr(pruning, "opened", lambda address, key: repository)
    pruning.prune_repository(None, None, 1, 0, 0, 0, 0, ["chat/1"], None, False, True)


def test_no_snapshot_is_deleted_when_any_read_of_a_pack_fails(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, left = heads(store), 0

    def silent(number: int, what: str) -> None:
        nonlocal left
        if what.startswith("read packs/"):
            left -= 1
            if left < 0:
                raise StoreUnreachable("memory://test: operation timed out")

    store.before = silent
    for good in range(1000):
        left = good
        try:
            prune(monkeypatch, Repository.open(store, [KEY]))
            break
        except StoreUnreachable:
            assert heads(store) == both
    assert good > 2, "no read of a tree failed"
    assert heads(store) == both


def test_no_snapshot_is_deleted_when_the_keys_were_rotated_meanwhile(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, repository = heads(store), Repository.open(store, [KEY])
    rotate(store, repository.header, KEY, {}, now=2.0, host="other")
    with pytest.raises(BackupError, match="its data keys were rotated while this ran"):
        prune(monkeypatch, repository)
    assert heads(store) == both
