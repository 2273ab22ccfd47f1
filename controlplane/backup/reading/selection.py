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

    A glob that is the path of an entry means that entry alone, also with a bracket in it. No globs: all entries. A hard
    link whose first file is not selected becomes a file. Raises BackupError when a glob matches nothing.
    """
    if not globs:
        return list(entries)
    files = {entry.path: entry for entry in entries}
    chosen: set[str] = set()
    for glob in globs:
        name = glob.rstrip("/")
        found_by = {path for path in files if _matches(path, name, literal=name in files)}
        if not found_by:
            raise BackupError(f"the snapshot has no file or folder {glob!r}; `backup show` lists its files")
        chosen |= found_by
    above = {str(parent) for path in chosen for parent in PurePosixPath(path).parents}
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


def _matches(path: str, glob: str, *, literal: bool) -> bool:
    parts = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
    return glob in parts if literal else any(fnmatchcase(part, glob) for part in parts)
