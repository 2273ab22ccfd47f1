"""Changes of keys in a folder and in an object store, by several threads at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from controlplane.backup.errors import KeysBusy
from controlplane.backup.format.envelope import Kind, Sealing, open_whole, seal_whole
from controlplane.backup.initial import init_repository
from controlplane.backup.keys.changing import add_key, known_keys, remove_key, rotate
from controlplane.backup.keys.keyfile import new_key
from controlplane.backup.repository import Repository
from controlplane.backup.storage.folder import FolderStore
from controlplane.backup.storage.objects import ObjectsStore
from controlplane.backup.storage.store import Store
from tests.patience import HANG_S
from tests.unit.controlplane.backup.world import KEY

AT_ONCE = 4


@pytest.fixture(params=["folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "repository") if request.param == "folder" else ObjectsStore(MemoryStore(), "memory:")


def test_the_whole_life_of_keys(store: Store) -> None:
    header = init_repository(store, KEY, key_name="first", now=1.0, sealing=Sealing.AES_256_GCM)
    second = new_key()
    sealed = [seal_whole(Kind.READS, b"words", Repository.open(store, [KEY]).secrets)]
    assert add_key(store, header, KEY, second, name="second", now=2.0, host="a")
    rotate(store, header, second, {"first.key": KEY}, now=3.0, host="a")
    sealed.append(seal_whole(Kind.READS, b"words", Repository.open(store, [second]).secrets))
    remove_key(store, header, second, KEY.id, host="a")
    secrets = Repository.open(store, [second]).secrets
    assert [open_whole("x", data, Kind.READS, secrets) for data in sealed] == [b"words"] * 2
    keys, epochs = known_keys(store)
    assert [(key.name, key.lacks) for key in keys] == [("second", 0)]
    assert len(epochs.ready) == 1 and list(store.list("intents/")) == []


def test_several_rotations_at_once_lose_nothing(store: Store) -> None:
    header = init_repository(store, KEY, key_name="first", now=1.0, sealing=Sealing.AES_256_GCM)
    together = threading.Barrier(AT_ONCE)

    def turn(number: int) -> int | None:
        together.wait(HANG_S)
        try:
            return rotate(store, header, KEY, {}, now=1.0, host=f"node-{number}")
        except KeysBusy:
            return None

    for _ in range(3):
        sealed = seal_whole(Kind.READS, b"words", Repository.open(store, [KEY]).secrets)
        before = known_keys(store)[1].ready
        with ThreadPoolExecutor(AT_ONCE) as pool:
            made = {epoch for epoch in pool.map(turn, range(AT_ONCE)) if epoch is not None}
        # Those that ran one after another all succeeded; of those that met at most one did.
        assert known_keys(store)[1].ready == before | made
        secrets = Repository.open(store, [KEY]).secrets
        assert secrets.epoch == max(before | made, default=0)
        assert open_whole("x", sealed, Kind.READS, secrets) == b"words"
    assert list(store.list("intents/")) == []
