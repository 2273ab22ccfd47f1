"""Parts of the index that cannot be read are told, whichever call loads the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError, StoreUnreachable
from controlplane.backup.pruning.prune import prune
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import KEY, create, new_store, write_files


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """A repository with a segment whose last byte changed."""
    store = new_store()
    write_files(tmp_path / "models", {"1/model.bin": b"weights"})
    create(store, tmp_path / "models")
    (name,) = (name for name in store.objects if name.startswith("index/"))
    data, at = store.objects[name]
    store.objects[name] = (data[:-1] + bytes([data[-1] ^ 1]), at)
    return store


def test_the_first_use_of_the_index_tells_what_of_it_is_damaged(store: MemoryStore) -> None:
    faults: list[BackupError] = []
    repository = Repository.open(store, [KEY], faults.append)
    assert faults == []
    (snapshot,) = repository.snapshots(faults.append)
    repository.tree(snapshot)
    assert [str(fault).partition(" is damaged")[0][:6] for fault in faults] == ["index/"]
    repository.tree(snapshot)
    assert len(faults) == 1


def test_without_a_listener_the_log_has_it(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    assert len(Repository.open(store, [KEY]).index) > 0
    assert "index/" in caplog.text and "is damaged" in caplog.text


def test_a_prune_tells_what_of_the_index_is_damaged_once(store: MemoryStore) -> None:
    result = prune(Repository.open(store, [KEY]), host="here")
    assert [fault[:6] for fault in result.faults] == ["index/"]


def test_a_store_that_does_not_answer_is_no_damage_of_a_pack(store: MemoryStore) -> None:
    repository = Repository.open(store, [KEY])

    def silent(number: int, what: str) -> None:
        if what.startswith("read packs/"):
            raise StoreUnreachable("memory://test: operation timed out")

    store.before = silent
    with pytest.raises(StoreUnreachable, match="timed out"):
        repository.refresh()
    store.before = lambda number, what: None
    assert [str(fault)[:6] for fault in repository.refresh()] == ["index/"]
