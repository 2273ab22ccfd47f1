"""The walk over a folder: types, order, globs, parts, links, and entries that cannot be backed up."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType
from controlplane.backup.reading.swap import beside, swap_in
from controlplane.backup.sources.walk import Source, walk
from tests.unit.controlplane.backup.world import create, new_store, restore, write_files

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


def test_a_name_with_a_bracket_is_matched_by_itself(root: Path) -> None:
    write_files(root, {"m[1]/w.bin": b"w", "m1/w.bin": b"w"})
    assert paths(Source(root, ("m[1]", "m1"), exclude=("m[1]/w.bin",))) == [".", "m1", "m[1]"]


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    depth = 1_100
    folder = tmp_path / "models"
    folder.mkdir()
    for _ in range(depth):
        folder /= "d"
        folder.mkdir()
    try:
        assert len(walk(Source(tmp_path / "models")).found) == depth + 1
        store = new_store()
        snapshot = create(store, tmp_path / "models")
        with beside(tmp_path / "out", "1") as fresh:
            restore(store, snapshot, fresh)
            swap_in(fresh, tmp_path / "out", "1")
        with pytest.raises(ZeroDivisionError), beside(tmp_path / "out", "2") as fresh:
            (tmp_path / "out").rename(fresh)
            raise ZeroDivisionError
        assert [path.name for path in tmp_path.iterdir()] == ["models"]
    finally:
        # pytest's own removal of the test's folder is recursive.
        with suppress(ZeroDivisionError), beside(tmp_path / "out", "3") as fresh:
            (tmp_path / "models").rename(fresh)
            raise ZeroDivisionError


@pytest.mark.parametrize("name", ["a", "a/1", "a/1/m.bin", "link"])
def test_an_entry_that_vanishes_during_the_walk_is_told(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (root / "link").symlink_to("a-b/x")
    original = os.scandir

    def vanishing(folder: Path) -> object:
        with original(folder) as entries:
            listed = list(entries)
        if root / name in {Path(entry.path) for entry in listed}:
            (root / name).rename(root.parent / f"{root.name}-gone")
        return nullcontext(listed)

    monkeypatch.setattr(os, "scandir", vanishing)
    walked = walk(Source(root))
    assert walked.vanished == (name,)
    assert name not in [one.path for one in walked.found]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "a" / "1").chmod(0)
    try:
        with pytest.raises(BackupError, match="a/1 cannot be read: Permission denied"):
            walk(Source(root))
    finally:
        (root / "a" / "1").chmod(0o700)
