"""The walk over a folder: types, order, globs, parts, links, and entries that cannot be backed up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType
from controlplane.backup.sources.walk import Source, walk
from tests.unit.controlplane.backup.world import write_files

FILE, FOLDER, LINK, SAME = EntryType.FILE, EntryType.FOLDER, EntryType.LINK, EntryType.SAME


def paths(source: Source) -> list[str]:
    return [one.path for one in walk(source).found]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_files(tmp_path, {"a-b/x": b"x", "a/1/m.bin": b"m", "a/1/m.lock": b"", "a/c.incomplete": b"", "a/c": b"c"})
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_folders_come_before_what_they_contain_and_unfinished_files_are_left_out(root: Path) -> None:
    assert paths(Source(root)) == [".", "a", "a/1", "a/1/m.bin", "a/c", "a-b", "a-b/x", "empty"]


def test_globs_match_paths_and_names(root: Path) -> None:
    assert paths(Source(root, include=("*.bin",))) == [".", "a", "a/1", "a/1/m.bin", "a-b", "empty"]
    assert paths(Source(root, exclude=("a/1", "x"))) == [".", "a", "a/c", "a/c.incomplete", "a-b", "empty"]


@pytest.mark.parametrize("parts", [("a",), ("./a/",), ("a", "a/1"), ("a/1", "a", "a")], ids=str)
def test_parts_are_walked_once(root: Path, parts: tuple[str, ...]) -> None:
    assert paths(Source(root, parts)) == [".", "a", "a/1", "a/1/m.bin", "a/c"]


def test_the_folders_above_a_part_are_part_of_the_tree(root: Path) -> None:
    assert paths(Source(root, ("a/1", "empty"))) == [".", "a", "a/1", "a/1/m.bin", "empty"]


@pytest.mark.parametrize("part", ["..", "a/../../b", "/etc", "nowhere", "a/c"])
def test_a_part_that_is_no_folder_below_the_root_is_refused(root: Path, part: str) -> None:
    with pytest.raises(BackupError, match=r"no folder below|cannot be backed up"):
        walk(Source(root, (part,)))


def test_hard_links_name_the_first_file_and_links_keep_their_target(root: Path) -> None:
    (root / "a" / "z").hardlink_to(root / "a" / "1" / "m.bin")
    (root / "link").symlink_to("a/1")
    found = {one.path: one for one in walk(Source(root)).found}
    assert (found["a/1/m.bin"].type, found["a/z"].type, found["a/z"].target) == (FILE, SAME, "a/1/m.bin")
    assert (found["link"].type, found["link"].target) == (LINK, "a/1")
    assert found["empty"].type is FOLDER


@pytest.mark.parametrize(
    ("target", "told"),
    [("a/c", False), ("./a/1/../c", False), ("a", False), ("nowhere", True), ("../other", True), ("/etc", True)],
)
def test_a_link_whose_target_is_not_in_the_snapshot_is_told(root: Path, target: str, told: bool) -> None:
    (root / "link").symlink_to(target)
    skipped = walk(Source(root)).skipped
    assert (len(skipped) == 1 and f"link -> {target}" in skipped[0]) if told else skipped == ()


def test_what_is_behind_a_link_to_a_folder_is_its_own_check(root: Path) -> None:
    (root / "latest").symlink_to("a")
    (root / "file").symlink_to("latest/c")
    assert walk(Source(root)).skipped == ()


def test_pipes_are_left_out_and_named(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert walk(Source(root)).skipped == ("pipe is neither a file, a folder nor a link",)


def test_names_that_are_no_text_are_kept(root: Path) -> None:
    (root / os.fsdecode(b"\xff")).write_bytes(b"x")
    assert os.fsdecode(b"\xff") in paths(Source(root))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "a" / "1").chmod(0)
    try:
        with pytest.raises(BackupError, match="a/1 cannot be read: Permission denied"):
            walk(Source(root))
    finally:
        (root / "a" / "1").chmod(0o700)
