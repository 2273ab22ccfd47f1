"""Snapshots that retention may not delete: the last one that can be restored of each version, and of each path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from controlplane.backup.errors import Damaged
from controlplane.backup.format.snapshot import EntryType, Snapshot, read_tree
from controlplane.backup.repository import Repository


def last_whole(repository: Repository, snapshots: Sequence[Snapshot], paths: Sequence[str] = ()) -> dict[str, str]:
    """Return the ids of the snapshots that stay in any case, each with the reason.

    A snapshot is whole when packs hold all its chunks, as far as verifications have found out. Of each version of a
    subject the newest whole snapshot stays; it is named here where a newer one is damaged, since the newest stays
    anyway. Of each subject the newest whole snapshot with each path of `paths` stays. A path names a file or a folder,
    such as `chat/2`. Raises BackupError when a tree cannot be read for another reason than damage, such as a store that
    does not answer: what is whole cannot be told then.
    """
    looks = _Looks(repository)
    found: dict[str, list[str]] = defaultdict(list)
    newest_first = sorted(snapshots, key=lambda one: one.order, reverse=True)
    newest: dict[tuple[str, str], Snapshot] = {}
    done: set[tuple[str, str]] = set()
    for snapshot in newest_first:
        version = (snapshot.subject, snapshot.version)
        newest.setdefault(version, snapshot)
        if version not in done and looks.paths(snapshot) is not None:
            done.add(version)
            if newest[version] is not snapshot:
                of = f"{snapshot.subject} {snapshot.version}".strip()
                found[snapshot.id].append(f"the newest whole one of {of}")
    for subject in sorted({one.subject for one in snapshots}):
        mine = [one for one in newest_first if one.subject == subject]
        for path in dict.fromkeys(paths):
            keeper = next((one for one in mine if path in (looks.paths(one) or ())), None)
            if keeper is not None:
                found[keeper.id].append(f"has {path}")
    return {identity: ", ".join(reasons) for identity, reasons in found.items()}


class _Looks:
    """The paths of whole snapshots. Each tree is read once: snapshots of an unchanged folder share it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._found: dict[tuple[bytes, ...], frozenset[str] | None] = {}
        self._present: dict[bytes, bool] = {}

    def paths(self, snapshot: Snapshot) -> frozenset[str] | None:
        """Return the paths of a snapshot. None: it is not whole."""
        if snapshot.tree not in self._found:
            self._found[snapshot.tree] = self._read(snapshot)
        return self._found[snapshot.tree]

    def _read(self, snapshot: Snapshot) -> frozenset[str] | None:
        found = set()
        try:
            for entry in read_tree(f"snapshot {snapshot.id}", self._repository.tree(snapshot)):
                if entry.type is EntryType.FILE and not all(map(self._is_present, entry.chunks)):
                    return None
                found.add(entry.path)
        except Damaged:
            return None
        return frozenset(found)

    def _is_present(self, identity: bytes) -> bool:
        if identity not in self._present:
            self._present[identity] = self._repository.index.find(identity) is not None
        return self._present[identity]
