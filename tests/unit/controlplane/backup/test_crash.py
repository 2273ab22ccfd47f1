"""A process that is killed at any call to the store leaves whole snapshots only, and the next run reuses its packs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from controlplane.backup.errors import NoSpace
from controlplane.backup.pruning.prune import prune
from controlplane.backup.reading.verify import verify
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import Killed, MemoryStore
from tests.unit.controlplane.backup.world import (
    KEY,
    content,
    create,
    new_store,
    restore,
    same_bucket,
    snapshots,
    write_files,
)

pytestmark = pytest.mark.usefixtures("small_packs")


def tree(root: Path, seed: int) -> Path:
    noise = random.Random(seed)
    write_files(root, {"config.pbtxt": b"x", "1/model.bin": noise.randbytes(5 << 20), "1/small": noise.randbytes(100)})
    return root


def whole(store: MemoryStore, tmp_path: Path, expected: dict[str, dict[str, tuple[object, ...]]]) -> None:
    """Check that each listed snapshot restores to what its subject was."""
    for number, snapshot in enumerate(snapshots(store)):
        folder = tmp_path / f"out-{snapshot.id}-{number}"
        restore(store, snapshot, folder)
        assert content(folder) == expected[snapshot.subject]
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


def operations_of_a_backup(root: Path) -> int:
    store = new_store()
    create(store, root)
    return store.operations


def test_a_backup_that_is_killed_at_any_operation_loses_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path / "models", 1)
    before = content(root)
    for at in range(3, operations_of_a_backup(root)):
        store = new_store()
        store.kill_at = at
        with pytest.raises(Killed):
            create(store, root)
        after = same_bucket(store)
        assert len(snapshots(after)) <= 1
        whole(after, tmp_path, {"chat": before})
        packs = {name for name in after.objects if name.startswith("packs/")}
        create(after, root)
        whole(after, tmp_path, {"chat": before})
        stored = sum(len(data) for name, (data, _) in after.objects.items() if name.startswith("packs/"))
        assert packs <= set(after.objects)
        assert stored < 6 << 20, f"killed at {at}: what was uploaded is stored twice"


def test_a_full_store_fails_the_backup_and_keeps_what_was_there(tmp_path: Path) -> None:
    root = tree(tmp_path / "models", 1)
    store = new_store()
    create(store, root, "old")
    before = content(root)
    tree(root, 2)
    for at in range(store.operations, store.operations + 6):
        full = same_bucket(store)
        full.full_at = at - store.operations
        with pytest.raises(NoSpace, match="full"):
            create(full, root)
    assert [snapshot.subject for snapshot in snapshots(store)] == ["old"]
    whole(same_bucket(store), tmp_path, {"old": before})


def test_a_prune_that_is_killed_at_any_operation_loses_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path / "models", 1)
    first = new_store()
    gone = create(first, root, "gone")
    tree(root, 2)
    kept = content(root)
    create(first, root, "kept")
    first.delete(f"snapshots/{gone.id}")
    probe = MemoryStore(dict(first.objects))
    prune(Repository.open(probe, [KEY]), host="here")
    for at in range(probe.operations):
        store = MemoryStore(dict(first.objects))
        store.kill_at = at
        with pytest.raises(Killed):
            prune(Repository.open(store, [KEY]), host="here")
        after = same_bucket(store)
        whole(after, tmp_path, {"kept": kept})
        # The killed prune left an intent behind, which counts for a day.
        after.now += 2 * 86400
        result = prune(Repository.open(after, [KEY]), host="here")
        again = prune(Repository.open(after, [KEY]), host="here")
        assert (result.waiting, again.waiting, again.deleted) == (0, 0, 0)
        whole(after, tmp_path, {"kept": kept})
        assert verify(Repository.open(after, [KEY])).good
        stored = sum(len(data) for name, (data, _) in after.objects.items() if name.startswith("packs/"))
        assert stored < 6 << 20, f"killed at {at}: packs that nothing needs stay"
