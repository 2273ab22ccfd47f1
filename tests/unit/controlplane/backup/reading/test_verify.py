"""What a verification says of packs that its sample does not read, and where it cannot write."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backup.errors import StoreUnreachable
from controlplane.backup.reading.verify import Touched, verify
from controlplane.backup.repository import Repository, pack_path
from tests.fakes.backup_store import MemoryStore
from tests.unit.controlplane.backup.world import KEY, create, new_store, write_files


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = new_store()
    write_files(tmp_path / "models", {"1/model.bin": b"weights"})
    create(store, tmp_path / "models")
    return store


def test_a_damaged_list_of_files_is_named_though_its_pack_was_not_read(store: MemoryStore) -> None:
    repository = Repository.open(store, [KEY])
    (snapshot,) = repository.snapshots(lambda _: None)
    place = repository.index.find(snapshot.tree[0])
    assert place is not None
    data, at = store.objects[pack_path(place.pack)]
    changed = bytearray(data)
    changed[place.offset] ^= 1
    store.objects[pack_path(place.pack)] = (bytes(changed), at)
    verdict = verify(repository, share=0.0)
    assert (verdict.packs, verdict.of, verdict.good) == (0, 1, False)
    assert verdict.touched == (Touched(snapshot.id, "", snapshot.tree[0].hex()),)


def test_a_store_that_cannot_be_written_to_leaves_the_verdict_and_a_note(store: MemoryStore) -> None:
    def read_only(number: int, what: str) -> None:
        if what.startswith(("put", "delete")):
            raise StoreUnreachable("memory://test: read-only")

    store.before = read_only
    verdict = verify(Repository.open(store, [KEY]))
    assert verdict.good
    assert [note.partition(",")[0] for note in verdict.notes] == ["the result could not be written to the repository"]
