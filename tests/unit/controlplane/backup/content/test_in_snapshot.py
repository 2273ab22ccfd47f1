"""The content of folders in a snapshot is that of the same folders on disk."""

from __future__ import annotations

import os
from pathlib import Path

from controlplane.backup.content.in_snapshot import FolderContent, contents
from controlplane.backup.content.reading import read_content
from controlplane.backup.format.snapshot import Entry, EntryType, read_tree
from controlplane.backup.repository import Repository
from controlplane.backup.storage.store import Store
from tests.unit.controlplane.backup.content.model_files import COMMIT, cached, model
from tests.unit.controlplane.backup.world import KEY, create, new_store, restore, snapshots, write_files


def found(store: Store, *globs: str) -> list[FolderContent]:
    repository = Repository.open(store, [KEY])
    (snapshot,) = snapshots(store)
    return contents(read_tree("tree", repository.tree(snapshot)), globs)


def test_versions_of_a_triton_repository(tmp_path: Path) -> None:
    for version, seed in (("1", 1), ("2", 2)):
        write_files(tmp_path / "chat" / version, model(seed))
    write_files(tmp_path, {"chat/config.pbtxt": b"", "embed/1/model.onnx": b"1", "chat/1/__pycache__/a.pyc": b"x"})
    store = new_store()
    create(store, tmp_path)
    rows = found(store, "chat/*", "embed/1", "gone/1")
    assert [(row.folder, row.files) for row in rows] == [
        ("chat/1", 5),
        ("chat/2", 5),
        ("chat/config.pbtxt", 1),
        ("embed/1", 1),
    ]
    for row in rows:
        on_disk = read_content(tmp_path / row.folder)
        assert (row.digest, row.bytes) == (on_disk.digest, on_disk.bytes)


def test_the_root_has_the_digest_of_the_snapshot(tmp_path: Path) -> None:
    write_files(tmp_path, model())
    store = new_store()
    head = create(store, tmp_path)
    assert found(store, ".") == [FolderContent(".", head.digest, 5, head.bytes)]
    assert read_content(tmp_path).digest == head.digest


def test_a_hugging_face_cache_a_plain_copy_and_a_restored_one_have_one_digest(tmp_path: Path) -> None:
    """Blobs have no suffix: they are cut by the names of the links to them."""
    snapshot = cached(tmp_path / "hub", model())
    store = new_store()
    head = create(store, tmp_path / "hub" / "models--org--chat")
    (row,) = found(store, f"snapshots/{COMMIT}")
    write_files(tmp_path / "plain", model())
    restore(store, head, tmp_path / "restored")
    restored = read_content(tmp_path / "restored" / "snapshots" / COMMIT)
    on_disk = read_content(snapshot)
    assert row.digest == on_disk.digest == restored.digest == read_content(tmp_path / "plain").digest
    assert (row.files, row.bytes) == (on_disk.files, on_disk.bytes)


def test_hard_links_and_links_to_folders_are_followed(tmp_path: Path) -> None:
    write_files(tmp_path / "1", {**model(), "inner/a.bin": b"1"})
    (tmp_path / "2").mkdir()
    for name in model():
        os.link(tmp_path / "1" / name, tmp_path / "2" / name)
    (tmp_path / "2" / "inner").symlink_to("../1/inner")
    (tmp_path / "latest").symlink_to("2")
    store = new_store()
    create(store, tmp_path)
    assert {row.digest for row in found(store, "1", "2", "latest")} == {read_content(tmp_path / "1").digest}


def test_a_link_that_leads_out_of_the_snapshot_is_said(tmp_path: Path) -> None:
    write_files(tmp_path / "far", {"a.bin": b"1"})
    write_files(tmp_path / "near", {"v1/b.bin": b"1", "v2/b.bin": b"1"})
    (tmp_path / "near" / "v1" / "a.bin").symlink_to("../../far/a.bin")
    (tmp_path / "near" / "v2" / "a.bin").symlink_to(tmp_path / "far" / "a.bin")
    store = new_store()
    create(store, tmp_path / "near")
    rows = found(store, "*")
    assert [(row.folder, row.digest, row.unknown) for row in rows] == [
        ("v1", "", "a.bin points out of the snapshot"),
        ("v2", "", "a.bin points out of the snapshot"),
    ]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    tree = [
        Entry(".", EntryType.FOLDER),
        Entry("a", EntryType.LINK, target="b"),
        Entry("b", EntryType.LINK, target="a"),
        Entry("c", EntryType.FOLDER),
        Entry("c/up", EntryType.LINK, target=".."),
        Entry("d", EntryType.FOLDER),
        Entry("d/x", EntryType.LINK, target="x/y"),
    ]
    rows = contents(tree, ["*"])
    assert [(row.folder, row.unknown) for row in rows] == [
        ("a", "a points out of the snapshot"),
        ("b", "b points out of the snapshot"),
        ("c", "up/a points out of the snapshot"),
        ("d", "x points out of the snapshot"),
    ]


def test_a_blob_that_gets_the_name_of_tensors_later_is_cut_anew(tmp_path: Path) -> None:
    (name,) = (one for one in model() if one.endswith(".safetensors"))
    write_files(tmp_path, {"blobs/abc": model()[name], "v1/config.json": b"{}"})
    store = new_store()
    create(store, tmp_path)
    (tmp_path / "v1" / name).symlink_to("../blobs/abc")
    head = create(store, tmp_path)
    repository = Repository.open(store, [KEY])
    (row,) = contents(read_tree("tree", repository.tree(head)), ["v1"])
    assert row.digest == read_content(tmp_path / "v1").digest


def test_the_name_of_a_link_to_a_link_says_where_tensors_are(tmp_path: Path) -> None:
    (name,) = (one for one in model() if one.endswith(".safetensors"))
    write_files(tmp_path, {"blobs/abc": model()[name], "v1/config.json": b"{}"})
    (tmp_path / "middle").symlink_to("blobs/abc")
    (tmp_path / "v1" / name).symlink_to("../middle")
    store = new_store()
    create(store, tmp_path)
    (row,) = found(store, "v1")
    assert row.digest == read_content(tmp_path / "v1").digest
