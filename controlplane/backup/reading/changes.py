"""Changes that a restore would make in the place of a folder, by the sizes and times of its files. Nothing is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.sources.walk import ROOT


@dataclass(frozen=True)
class Change:
    """One path that would differ."""

    path: str
    kind: str
    """added, changed or removed."""
    bytes: int
    """Size of the file that would be written, or that would be gone. 0: it is no file."""


def changes(folder: Path, entries: Sequence[Entry]) -> list[Change]:
    """Return what would differ in `folder`, in the order of paths. A folder that does not exist is an empty one.

    A file counts as equal when its size, time and permissions are. Raises BackupError when the folder cannot be read.
    """
    try:
        there = dict(_walk(folder))
    except OSError as error:
        raise BackupError(f"{error.filename or folder} cannot be read: {error.strerror}") from None
    files = {entry.path: entry for entry in entries if entry.type is EntryType.FILE}
    wanted = {entry.path: entry for entry in entries if entry.path != ROOT}
    found = []
    for path in sorted(wanted.keys() | there.keys()):
        entry, status = wanted.get(path), there.get(path)
        if entry is None:
            assert status is not None
            found.append(Change(path, "removed", status.st_size if stat.S_ISREG(status.st_mode) else 0))
        elif status is None or not _same(entry, status, folder / path, files):
            size = files[entry.target].size if entry.type is EntryType.SAME else entry.size
            found.append(Change(path, "added" if status is None else "changed", size))
    return found


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each path below a folder, and its status. Links are not followed."""
    waiting = [folder] if folder.is_dir() else []
    for one in waiting:  # grows
        with os.scandir(one) as found:
            for item in found:
                path = Path(item.path)
                yield path.relative_to(folder).as_posix(), item.stat(follow_symlinks=False)
                if item.is_dir(follow_symlinks=False):
                    waiting.append(path)


def _same(entry: Entry, status: os.stat_result, path: Path, files: Mapping[str, Entry]) -> bool:
    match entry.type:
        case EntryType.LINK:
            return stat.S_ISLNK(status.st_mode) and os.fspath(path.readlink()) == entry.target
        case EntryType.FOLDER:
            return stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == entry.mode
        case EntryType.SAME:
            entry = files[entry.target]
    there = (stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))
    return there == (True, entry.size, entry.mtime_ns, entry.mode)
