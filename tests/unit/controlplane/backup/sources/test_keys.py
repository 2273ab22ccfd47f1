"""Keys of a bucket as a tree."""

from __future__ import annotations

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType
from controlplane.backup.sources.keys import FILE_MODE, FOLDER_MODE, Key, sane_tree
from controlplane.backup.sources.walk import UNFINISHED, Walk


def key(path: str, size: int = 1, at: int = 1, *, marker: bool = False) -> Key:
    return Key(path, size, at * 1_000_000_000, f'"{path}"', marker)


def tree(
    *keys: Key, folders: tuple[str, ...] = (), include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> Walk:
    return sane_tree(folders, include, (*UNFINISHED, *exclude), "s3://models/t", keys)


def shown(walked: Walk) -> list[str]:
    return [one.path + ("/" if one.type is EntryType.FOLDER else "") for one in walked.found]


def test_folders_come_before_what_is_in_them_with_the_time_of_the_newest() -> None:
    walked = tree(key("rag/2/model.bin", at=9), key("rag/1/model.bin", at=3), key("rag/config.pbtxt", at=4))
    assert shown(walked) == ["./", "rag/", "rag/1/", "rag/1/model.bin", "rag/2/", "rag/2/model.bin", "rag/config.pbtxt"]
    times = {one.path: one.mark.mtime_ns // 1_000_000_000 for one in walked.found}
    assert (times["."], times["rag"], times["rag/1"]) == (9, 9, 3)
    assert {one.mode for one in walked.found} == {FILE_MODE, FOLDER_MODE}


def test_a_marker_is_an_empty_folder() -> None:
    assert shown(tree(key("rag/1", 0, marker=True), key("rag/config.pbtxt"))) == [
        "./",
        "rag/",
        "rag/1/",
        "rag/config.pbtxt",
    ]


def test_an_empty_object_of_the_name_of_a_folder_marks_it() -> None:
    assert shown(tree(key("rag", 0), key("rag/config.pbtxt"))) == ["./", "rag/", "rag/config.pbtxt"]


def test_an_object_that_is_the_folder_of_others_is_refused_with_the_way_out() -> None:
    keys = (key("rag"), key("rag/config.pbtxt"), key("other"))
    with pytest.raises(
        BackupError, match=r"s3://models/t/rag is an object, and the folder .* rag/config\.pbtxt.*'rag/\*'"
    ):
        tree(*keys)
    assert shown(tree(*keys, exclude=("rag/*",))) == ["./", "other", "rag"]


def test_parts_include_and_exclude() -> None:
    keys = (key("rag/1/a.bin"), key("rag/1/a.txt"), key("embed/1/b.bin"), key("other/1/c.bin"), key("rag/1/x.lock"))
    assert shown(tree(*keys, folders=("rag", "embed"), include=("*.bin",))) == [
        *("./", "embed/", "embed/1/", "embed/1/b.bin", "rag/", "rag/1/", "rag/1/a.bin")
    ]
    assert shown(tree(*keys, exclude=("rag", "embed"))) == ["./", "other/", "other/1/", "other/1/c.bin"]
    for part, told in (("none", r"s3://models/t/none cannot be backed up: no object"), ("../x", "no folder below")):
        with pytest.raises(BackupError, match=told):
            tree(*keys, folders=(part,))


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(BackupError, match="s3://models/t cannot be backed up: no object is below it"):
        tree()


def test_names_that_no_disk_can_hold_are_told() -> None:
    assert "names longer than 255 bytes: 1, such as xxx" in tree(key("x" * 256)).skipped[0]


def test_only_an_etag_proves_that_an_object_did_not_change() -> None:
    (_, with_etag), (_, without) = tree(key("a")).found, tree(Key("a", 1, 1, "")).found
    assert with_etag.mark.settled(0.0)
    assert not without.mark.settled(4_000_000_000.0)
