"""Machines whose clocks are wrong: the store's clock decides which snapshot is the newest."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.clocks import clock_warnings
from controlplane.backup.format.snapshot import Snapshot
from controlplane.backup.pruning.retention import Keep, fates
from controlplane.backup.repository import Repository
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import KEY, Clock, create, new_store, snapshots, write_files

NOON = 4_000_000_000.0
DAY = 86_400.0


def made(store: MemoryStore, root: Path, *, ahead: float, at: float) -> Snapshot:
    """Back up when the store's clock shows `at`, on a machine whose clock is ahead by so many seconds."""
    store.now = at
    (root / "model.bin").write_bytes(f"weights of {at}".encode())
    return create(store, root, clock=Clock(at + ahead), host="node-1")


@pytest.mark.parametrize("ahead", [DAY, -DAY, 10 * DAY])
def test_a_wrong_clock_neither_hides_a_newer_snapshot_nor_its_own(tmp_path: Path, ahead: float) -> None:
    store = new_store()
    write_files(tmp_path / "models", {"model.bin": b""})
    first = made(store, tmp_path / "models", ahead=0.0, at=NOON)
    wrong = made(store, tmp_path / "models", ahead=ahead, at=NOON + 3600)
    last = made(store, tmp_path / "models", ahead=0.0, at=NOON + 7200)
    found = snapshots(store)
    assert [one.id for one in found] == [first.id, wrong.id, last.id]
    kept = [fate.snapshot.id for fate in fates(found, Keep(last=1), {}) if fate.reasons]
    assert kept == [last.id]
    assert [fate.reasons[-1] for fate in fates(found, Keep(daily=1), {}) if fate.reasons] == ["daily 2096-10-02"]


def test_a_copied_repository_keeps_the_order(tmp_path: Path) -> None:
    store = new_store()
    write_files(tmp_path / "models", {"model.bin": b""})
    ids = [made(store, tmp_path / "models", ahead=0.0, at=NOON + hour * 3600).id for hour in range(3)]
    copied = MemoryStore()
    for number, (name, (data, _)) in enumerate(sorted(store.objects.items(), reverse=True)):
        copied.objects[name] = (data, NOON + 30 * DAY + number)
    assert [one.id for one in snapshots(copied)] == ids


def test_a_head_without_the_stores_time_counts_by_the_earlier_clock() -> None:
    old = Snapshot("x", NOON, "chat", "file:///models", (), "")
    assert (old.dated(NOON - DAY).at, old.dated(NOON + DAY).at) == (NOON - DAY, NOON)


def test_each_machine_whose_clock_differs_is_named_once(tmp_path: Path) -> None:
    store = new_store()
    write_files(tmp_path / "models", {"model.bin": b""})
    made(store, tmp_path / "models", ahead=290.0, at=NOON)
    assert list(clock_warnings(snapshots(store))) == []
    made(store, tmp_path / "models", ahead=-7200.0, at=NOON + 1)
    last = made(store, tmp_path / "models", ahead=-7200.0, at=NOON + 2)
    (warning,) = clock_warnings(snapshots(store))
    assert warning.startswith(f"the clock of node-1 was 2 h behind the repository's when it made {last.id} and 1 more.")


def test_the_newest_heads_are_read_alone_also_of_machines_with_a_wrong_clock_and_of_a_copied_repository(
    tmp_path: Path,
) -> None:
    store = new_store()
    write_files(tmp_path, {"x": b"x"})
    # The store's clock runs on; the second machine's is years ahead.
    for number, ahead in enumerate((0.0, 9e8, 0.0, 0.0)):
        store.now = 4_000_000_000.0 + 1000 * number
        create(store, tmp_path, f"turn {number}", clock=Clock(store.now + ahead))
    reads: list[str] = []
    store.before = lambda number, what: reads.append(what) if what.startswith("get snapshots/") else None
    repository = Repository.open(store, [KEY])
    assert [one.subject for one in repository.snapshots(_raise, newest=2)] == ["turn 2", "turn 3"]
    assert len(reads) == 2
    heads = [name for name in store.objects if name.startswith("snapshots/")]
    for number, name in enumerate(heads):  # a copy, made from the newest to the oldest
        store.objects[name] = (store.objects[name][0], 6_000_000_000.0 - 1000 * number)
    found = [one.subject for one in repository.snapshots(_raise, newest=3)]
    assert found[-2:] == ["turn 2", "turn 3"]


def _raise(error: Exception) -> None:
    raise error
