"""A folder and an object store keep the same promises."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from controlplane.backup.errors import NotARepository, StoreUnreachable
from controlplane.backup.storage.addresses import open_store
from controlplane.backup.storage.folder import FolderStore
from controlplane.backup.storage.objects import ONE_REQUEST_BELOW, ObjectsStore
from controlplane.backup.storage.store import Store


@pytest.fixture(params=["folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "repository") if request.param == "folder" else ObjectsStore(MemoryStore(), "memory:")


def test_a_cloud_without_credentials_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token\n\nCaused by: …")

    monkeypatch.setattr("controlplane.backup.storage.objects.obstore.get", refused)
    with pytest.raises(StoreUnreachable) as error:
        ObjectsStore(MemoryStore(), "s3://models").get("repository.json", 4096)
    told = "s3://models: repository.json: the environment has no credentials for it"
    assert str(error.value).startswith(told) and str(error.value).endswith("/latest/api/token)")


def names(store: Store, prefix: str) -> list[str]:
    return sorted(item.name for item in store.list(prefix))


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 1 << 20, ONE_REQUEST_BELOW + 4096, ONE_REQUEST_BELOW + 5])
def test_an_object_comes_back_whole_and_in_parts(store: Store, size: int) -> None:
    data = os.urandom(size)
    store.put("packs/ab/abc", memoryview(data))
    assert store.get("packs/ab/abc", size) == data
    assert [(item.name, item.size) for item in store.list("packs/")] == [("packs/ab/abc", size)]
    out = bytearray(size // 2)
    assert store.read_into("packs/ab/abc", size // 4, memoryview(out)) == len(out)
    assert out == data[size // 4 :][: size // 2]


def test_a_range_beyond_the_end_is_short(store: Store) -> None:
    store.put("index/x", b"0123456789")
    out = bytearray(8)
    assert store.read_into("index/x", 6, memoryview(out)) == 4
    assert out[:4] == b"6789"
    assert [store.read_into("index/x", at, memoryview(out)) for at in (10, 11, 1 << 30)] == [0, 0, 0]
    assert store.read_into("index/x", 3, memoryview(b"")) == 0


def test_objects_are_listed_below_their_prefix_only(store: Store) -> None:
    for name in ("snapshots/a", "snapshots/b", "snapshots2/c", "packs/ab/abc", "repository.json"):
        store.put(name, b"x")
    assert names(store, "snapshots/") == ["snapshots/a", "snapshots/b"]
    assert names(store, "packs/") == ["packs/ab/abc"]
    assert names(store, "nothing/") == []


def test_an_object_that_is_not_there(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.get("keys/x", 10)
    with pytest.raises(FileNotFoundError):
        store.read_into("keys/x", 0, memoryview(bytearray(1)))
    store.delete("keys/x")


def test_an_object_over_its_limit_is_refused(store: Store) -> None:
    store.put("keys/x", b"0123456789")
    with pytest.raises(StoreUnreachable, match="more than 9 bytes"):
        store.get("keys/x", 9)


def test_deleting_and_writing_again(store: Store) -> None:
    store.put("keys/x", b"one")
    store.put("keys/x", b"two")
    assert store.get("keys/x", 9) == b"two"
    store.delete("keys/x")
    assert names(store, "keys/") == []


def test_of_many_that_create_one_object_one_does(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: store.create("repository.json", bytes([number]) * 100), range(8)))
    assert sorted(made) == [False] * 7 + [True]
    assert store.get("repository.json", 100) == bytes([made.index(True)]) * 100
    assert [item.name for item in store.list("")] == ["repository.json"]
    assert not store.create("repository.json", b"x")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_folder_without_hard_links_creates_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = FolderStore(tmp_path)
    assert [store.create("keys/x", data) for data in (b"one", b"two")] == [True, False]
    assert store.get("keys/x", 9) == b"one"


def test_a_file_that_is_not_finished_is_not_listed_and_goes_once_it_is_old(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("packs/ab/abc", b"x")
    old, fresh = tmp_path / "packs" / "ab" / ".partial-1", tmp_path / "packs" / "ab" / ".partial-2"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (1_000, 1_000))
    assert names(store, "packs/") == ["packs/ab/abc"]
    store.tidy(24 * 3600.0)
    assert sorted(path.name for path in old.parent.iterdir()) == [".partial-2", "abc"]
    assert [path.name for path in tmp_path.iterdir()] == ["packs"], "the probe stays behind"


def test_folders_and_objects_are_for_their_owner_only(tmp_path: Path) -> None:
    FolderStore(tmp_path / "repository").put("packs/ab/abc", bytes(8192))
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "repository").rglob("*")} == {0}


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnreachable, match=r"file: keys/x: (File exists|Not a directory)"):
        FolderStore(tmp_path / "file").put("keys/x", b"x")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://host/x", "is no address of a repository"),
        ("file://host/x", "three slashes"),
        ("s3://", "names no bucket"),
        ("s3://key:secret@bucket/x", "with credentials or options in it is refused"),
        ("s3://bucket/x?secret=1", "with credentials or options in it is refused"),
    ],
)
def test_addresses_that_are_refused(address: str, message: str) -> None:
    with pytest.raises(NotARepository, match=message) as error:
        open_store(address, {})
    assert "secret" not in str(error.value)


def test_addresses_of_folders(tmp_path: Path) -> None:
    spaced = tmp_path / "my backups"
    for address in (str(spaced), spaced.as_uri(), f"file://localhost{spaced.as_uri().removeprefix('file://')}"):
        store = open_store(address, {})
        assert isinstance(store, FolderStore)
        assert store.root == spaced
