"""Which entries a restore of some files writes."""

from __future__ import annotations

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.reading.selection import select

FILE, FOLDER, LINK, SAME = EntryType.FILE, EntryType.FOLDER, EntryType.LINK, EntryType.SAME
TREE = [
    Entry(".", FOLDER),
    Entry("chat", FOLDER),
    Entry("chat/1", FOLDER),
    Entry("chat/1/a.bin", FILE, size=3, digest="d", chunks=(b"c",)),
    Entry("chat/2", FOLDER),
    Entry("chat/2/a.bin", SAME, target="chat/1/a.bin"),
    Entry("chat/2/b.bin", SAME, target="chat/1/a.bin"),
    Entry("chat/latest", LINK, target="2"),
    Entry("rag", FOLDER),
]


def paths(*globs: str) -> list[str]:
    return [entry.path for entry in select(TREE, globs)]


def test_no_glob_selects_everything() -> None:
    assert select(TREE, ()) == TREE


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("chat/1", [".", "chat", "chat/1", "chat/1/a.bin"]),
        ("chat/1/", [".", "chat", "chat/1", "chat/1/a.bin"]),
        ("*/latest", [".", "chat", "chat/latest"]),
        ("rag", [".", "rag"]),
        ("chat/[12]/a.bin", [".", "chat", "chat/1", "chat/1/a.bin", "chat/2", "chat/2/a.bin"]),
    ],
)
def test_a_glob_selects_what_matches_with_the_folders_above(glob: str, expected: list[str]) -> None:
    assert paths(glob) == expected


def test_hard_links_without_their_first_file_become_a_file_and_a_link_to_it() -> None:
    found = {entry.path: entry for entry in select(TREE, ["chat/2"])}
    assert found["chat/2/a.bin"] == Entry("chat/2/a.bin", FILE, size=3, digest="d", chunks=(b"c",))
    assert (found["chat/2/b.bin"].type, found["chat/2/b.bin"].target) == (SAME, "chat/2/a.bin")


def test_a_glob_that_matches_nothing_is_named() -> None:
    with pytest.raises(BackupError, match="no file or folder 'chat/3'"):
        select(TREE, ["chat/1", "chat/3"])


def test_the_path_of_an_entry_means_that_entry_also_with_a_bracket() -> None:
    tree = [Entry(".", FOLDER), Entry("m1", FOLDER), Entry("m[1]", FOLDER), Entry("m[1]/w[a].bin", FILE)]
    found = {glob: [entry.path for entry in select(tree, [glob])] for glob in ("m[1]/", "m[1]/w[a].bin", "m[12]")}
    assert found == {
        "m[1]/": [".", "m[1]", "m[1]/w[a].bin"],
        "m[1]/w[a].bin": [".", "m[1]", "m[1]/w[a].bin"],
        "m[12]": [".", "m1"],
    }
