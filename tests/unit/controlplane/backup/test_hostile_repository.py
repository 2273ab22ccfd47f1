"""A repository that somebody else wrote to: snapshots that would leave their folder, and headers that were changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controlplane.backup.errors import BackupError, Damaged
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.reading.restore import write_tree
from controlplane.backup.repository import Repository
from controlplane.backup.tally import Tally
from tests.unit.controlplane.backup.world import KEY, create, new_store, snapshots, write_files

FILE = Entry("payload", EntryType.FILE, 0o644)
LINK = Entry("a", EntryType.LINK, target="/")


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("../x", EntryType.FOLDER)],
        [Entry("/x", EntryType.FOLDER)],
        [Entry("a/../../x", EntryType.FOLDER)],
        [Entry("./a", EntryType.LINK, target="/"), Entry("a/evil", EntryType.FOLDER)],
        [Entry("", EntryType.FOLDER)],
        [Entry("nul\0", EntryType.FOLDER)],
        [LINK, Entry("a/evil", EntryType.FOLDER)],
        [LINK, Entry("a", EntryType.FOLDER)],
        [FILE, Entry("payload/evil", EntryType.FOLDER)],
        [Entry("x", EntryType.SAME, target="/etc/shadow")],
        [Entry("x", EntryType.SAME, target="../outside")],
        [LINK, Entry("x", EntryType.SAME, target="a")],
        [Entry("x", EntryType.SAME, target="payload"), FILE],
    ],
    ids=lambda entries: " ".join(f"{entry.path!r}" for entry in entries),
)
def test_a_tree_that_would_leave_its_folder_is_refused(tmp_path: Path, entries: list[Entry]) -> None:
    (tmp_path / "outside").write_text("secret")
    repository = Repository.open(new_store(), [KEY])
    with pytest.raises(BackupError, match="nothing was written"):
        write_tree(repository, entries, tmp_path / "out", lanes=1, tally=Tally())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]


def test_a_header_that_says_plain_does_not_end_encryption(tmp_path: Path) -> None:
    store = new_store()
    data, at = store.objects["repository.json"]
    store.objects["repository.json"] = (json.dumps({**json.loads(data), "sealing": "plain"}).encode(), at)
    write_files(tmp_path, {"model.bin": b"weights"})
    with pytest.raises(Damaged, match=r"repository\.json.*another sealing"):
        create(store, tmp_path)


def test_a_copied_head_is_no_second_snapshot(tmp_path: Path) -> None:
    store = new_store()
    write_files(tmp_path, {"model.bin": b"weights"})
    made = create(store, tmp_path)
    store.objects["snapshots/copy"] = store.objects[f"snapshots/{made.id}"]
    faults: list[BackupError] = []
    assert [one.id for one in Repository.open(store, [KEY]).snapshots(faults.append)] == [made.id]
    assert [str(fault) for fault in faults] == [f"snapshots/copy is damaged: it is a copy of the snapshot {made.id}"]
    del store.objects["snapshots/copy"]
    assert snapshots(store) == [made]
