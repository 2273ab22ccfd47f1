"""Selection of entries of a snapshot by globs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import Entry, EntryType


def select(entries: Sequence[Entry], globs: Sequence[str]) -> list[Entry]:
    """Return the entries whose paths match a glob, or are below a folder that matches, with the folders above them.

    No globs: all entries. A hard link whose first file is not selected becomes a file. Raises BackupError when a glob
    matches nothing.
    """
    if not globs:
        return list(entries)
    for glob in globs:
        if not any(_matches(entry.path, glob) for entry in entries):
            raise BackupError(f"the snapshot has no file or folder {glob!r}; `backup show` lists its files")
    chosen = {entry.path for entry in entries if any(_matches(entry.path, glob) for glob in globs)}
    above = {str(parent) for path in chosen for parent in PurePosixPath(path).parents}
    files = {entry.path: entry for entry in entries}
    kept: dict[str, str] = {}
    found = []
    for entry in entries:
        if entry.path not in chosen and not (entry.type is EntryType.FOLDER and entry.path in above):
            continue
        if entry.type is EntryType.SAME and entry.target not in chosen:
            first = kept.setdefault(entry.target, entry.path)
            if first == entry.path:
                entry = replace(files[entry.target], path=entry.path)
            else:
                entry = replace(entry, target=first)
        found.append(entry)
    return found


def _matches(path: str, glob: str) -> bool:
    parts = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
    return any(fnmatchcase(part, glob.rstrip("/")) for part in parts)
