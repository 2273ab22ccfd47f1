"""What a restore would change in a folder, by sizes, times and permissions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.reading.changes import Change, changes

NS = 1_700_000_000_123_456_789


def entry(path: str, mode: int = 0o644, kind: EntryType = EntryType.FILE, target: str = "") -> Entry:
    return Entry(path, kind, mode=mode, mtime_ns=NS, size=3 if kind is EntryType.FILE else 0, target=target)


ENTRIES = (
    entry(".", mode=0o700, kind=EntryType.FOLDER),
    entry("chat", mode=0o755, kind=EntryType.FOLDER),
    entry("chat/a"),
    entry("chat/b", target="chat/a", kind=EntryType.SAME),
    entry("chat/l", target="a", kind=EntryType.LINK),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is as the entries say."""
    chat = tmp_path / "models" / "chat"
    chat.mkdir(parents=True)
    chat.chmod(0o755)
    (chat / "a").write_text("abc")
    (chat / "a").chmod(0o644)
    os.utime(chat / "a", ns=(NS, NS))
    (chat / "b").hardlink_to(chat / "a")
    (chat / "l").symlink_to("a")
    return tmp_path / "models"


def test_a_folder_that_is_equal_has_no_change_and_one_that_is_missing_has_all_added(folder: Path) -> None:
    assert changes(folder, ENTRIES) == []
    assert changes(folder / "none", ENTRIES) == [
        Change("chat", "added", 0), Change("chat/a", "added", 3), Change("chat/b", "added", 3),
        Change("chat/l", "added", 0),
    ]  # fmt: skip


def test_sizes_times_modes_links_and_kinds_count(folder: Path) -> None:
    chat = folder / "chat"
    (chat / "a").write_text("abcd")
    (chat / "l").unlink()
    (chat / "l").symlink_to("b")
    chat.chmod(0o700)
    found = [Change("chat", "changed", 0), Change("chat/a", "changed", 3), Change("chat/b", "changed", 3)]
    assert changes(folder, ENTRIES) == [*found, Change("chat/l", "changed", 0)]
    (chat / "a").unlink()
    (chat / "a").mkdir()
    assert changes(folder, ENTRIES)[1] == Change("chat/a", "changed", 3)


def test_what_the_snapshot_lacks_would_be_removed(folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "new" / "w").write_text("12345")
    assert changes(folder, ENTRIES) == [Change("new", "removed", 0), Change("new/w", "removed", 5)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "chat").chmod(0)
    try:
        with pytest.raises(BackupError, match="chat cannot be read"):
            changes(folder, ENTRIES)
    finally:
        (folder / "chat").chmod(0o755)
