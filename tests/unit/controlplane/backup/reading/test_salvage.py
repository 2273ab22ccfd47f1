"""What a restore brings back when packs are damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from controlplane.backup.errors import Damaged
from controlplane.backup.format.snapshot import EntryType, Snapshot, read_tree
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.reading.salvage import salvage
from controlplane.backup.repository import Repository, pack_path
from controlplane.backup.tally import Tally
from controlplane.backup.writing import create as creating
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import KEY, content, create, new_store, write_files


def damage(store: MemoryStore, identity: bytes) -> None:
    """Change one byte of every copy of a chunk."""
    for place in Repository.open(store, [KEY]).index.copies(identity):
        data, at = store.objects[pack_path(place.pack)]
        changed = bytearray(data)
        changed[place.offset] ^= 1
        store.objects[pack_path(place.pack)] = (bytes(changed), at)


def chunk_of(store: MemoryStore, snapshot: Snapshot, path: str) -> bytes:
    body = Repository.open(store, [KEY]).tree(snapshot)
    return next(entry.chunks[0] for entry in read_tree("tree", body) if entry.path == path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    noise = random.Random(1)
    write_files(tmp_path / "models", {f"chat/{number}/w.bin": noise.randbytes(5_000) for number in range(4)})
    (tmp_path / "models" / "chat" / "latest").symlink_to("3")
    (tmp_path / "models" / "same").mkdir()
    (tmp_path / "models" / "same" / "w.bin").hardlink_to(tmp_path / "models" / "chat" / "2" / "w.bin")
    return tmp_path / "models"


def restored(store: MemoryStore, snapshot: Snapshot, folder: Path) -> tuple[str, ...]:
    repository = Repository.open(store, [KEY])
    left = salvage(repository, snapshot)
    lost = write_tree(repository, left.entries, folder, lanes=1, tally=Tally(), partial=True)
    return (*left.faults, *lost)


def test_damaged_files_and_their_hard_links_are_named_and_the_rest_comes_back(root: Path, tmp_path: Path) -> None:
    store = new_store()
    snapshot = create(store, root)
    identity = chunk_of(store, snapshot, "chat/2/w.bin")
    damage(store, identity)
    faults = restored(store, snapshot, tmp_path / "out")
    assert [fault.partition(":")[0] for fault in faults] == ["chat/2/w.bin", "same/w.bin"]
    assert identity.hex() in faults[0] and "it is the same file as chat/2/w.bin" in faults[1]
    expected = {path: facts for path, facts in content(root).items() if path not in ("chat/2/w.bin", "same/w.bin")}
    assert content(tmp_path / "out") == expected


def test_without_partial_a_damaged_file_restores_nothing(root: Path, tmp_path: Path) -> None:
    store = new_store()
    snapshot = create(store, root)
    damage(store, chunk_of(store, snapshot, "chat/2/w.bin"))
    repository = Repository.open(store, [KEY])
    entries = list(read_tree("tree", repository.tree(snapshot)))
    with pytest.raises(Damaged, match=r"1 of 4 files.*chat/2/w\.bin"):
        write_tree(repository, entries, tmp_path / "out", lanes=1, tally=Tally())


@pytest.mark.parametrize("lost", range(7))
def test_a_gap_in_the_list_of_files_leaves_the_entries_of_its_other_chunks(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    monkeypatch.setattr(creating, "TREE_CHUNK", 300)
    store = new_store()
    snapshot = create(store, root)
    assert len(snapshot.tree) >= 7
    repository = Repository.open(store, [KEY])
    parts = [repository.chunk(identity) for identity in snapshot.tree]
    begin = sum(map(len, parts[:lost]))
    end = begin + len(parts[lost])
    whole, at = [], 0
    for line in b"".join(parts).splitlines(keepends=True):
        if at + len(line) <= begin or at >= end:
            whole.append(line)
        at += len(line)
    expected = [entry.path for entry in read_tree("tree", b"".join(whole))]
    damage(store, snapshot.tree[lost])
    left = salvage(Repository.open(store, [KEY]), snapshot)
    kept = [entry.path for entry in left.entries]
    assert [path for path in expected if path not in kept] in ([], ["same/w.bin"])
    assert kept == [path for path in expected if path in kept]
    named = sum(entry.type is EntryType.FILE for entry in left.entries)
    assert any(fault.startswith("the list of files has a gap after") for fault in left.faults)
    assert any(f"{4 - named} of 4 files are in the gaps" in fault for fault in left.faults) == (named < 4)
    restored(store, snapshot, tmp_path / "out")


def test_a_list_of_files_without_a_readable_line_restores_nothing(root: Path) -> None:
    store = new_store()
    snapshot = create(store, root)
    for identity in snapshot.tree:
        damage(store, identity)
    with pytest.raises(Damaged, match=f"the list of files of snapshot {snapshot.id}"):
        salvage(Repository.open(store, [KEY]), snapshot)
