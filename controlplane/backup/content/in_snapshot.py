"""The content of folders in a snapshot, from its tree: no bytes of files are read.

Links are followed inside the snapshot, as on disk. So a version on disk and its backup have one digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Final

from controlplane.backup.content.files import is_left_out
from controlplane.backup.format.ids import tree_digest
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.sources.walk import ROOT

MOST_LINKS: Final = 40
"""Links that are followed one after another, as the kernel does."""
MOST_FOUND: Final = 1000
"""Most folders of one snapshot that are told."""


@dataclass(frozen=True)
class FolderContent:
    """The content of one folder, or of one file, of a snapshot."""

    folder: str
    """Path below the snapshot's root; `.` is the root itself."""
    digest: str
    """In hex; empty: a link leads out of the snapshot, so the content is not known."""
    files: int
    bytes: int
    unknown: str = ""
    """Why the digest is not known."""


def contents(entries: Iterable[Entry], globs: Iterable[str]) -> list[FolderContent]:
    """Return the content of each folder whose path matches a glob, part by part. `.` is the snapshot's root."""
    tree = {entry.path: entry for entry in entries}
    below = _below(tree)
    wanted = [path for path in tree if any(_matches(path, glob) for glob in globs)]
    return [_content(path, tree, below) for path in sorted(wanted)[:MOST_FOUND]]


def _matches(path: str, glob: str) -> bool:
    if ROOT in (path, glob):
        return path == glob
    parts, globs = path.split("/"), glob.split("/")
    return len(parts) == len(globs) and all(map(fnmatchcase, parts, globs))


def _below(tree: Mapping[str, Entry]) -> dict[str, list[str]]:
    """Return the paths directly in each folder."""
    found: dict[str, list[str]] = {}
    for path in tree:
        if path != ROOT:
            found.setdefault(str(PurePosixPath(path).parent), []).append(path)
    return found


def _content(folder: str, tree: Mapping[str, Entry], below: Mapping[str, list[str]]) -> FolderContent:
    digests: dict[str, bytes] = {}
    size = 0
    for name, entry in _files(folder, tree, below):
        if entry is None:
            return FolderContent(folder, "", len(digests), size, f"{name} points out of the snapshot")
        digests[name] = bytes.fromhex(entry.digest)
        size += entry.size
    return FolderContent(folder, tree_digest(digests).hex(), len(digests), size)


def _files(
    folder: str, tree: Mapping[str, Entry], below: Mapping[str, list[str]]
) -> Iterator[tuple[str, Entry | None]]:
    """Yield path below the folder and entry of each file; None: what is behind a link is not in the snapshot."""
    start = _behind(folder, tree)
    if start is None or tree[start].type is EntryType.FILE:
        yield PurePosixPath(folder).name, None if start is None else tree[start]
        return
    folders: list[tuple[str, str, frozenset[str]]] = [(start, "", frozenset())]
    while folders:
        place, prefix, above = folders.pop()
        for path in below.get(place, ()):
            name = f"{prefix}{PurePosixPath(path).name}"
            if is_left_out(name):
                continue
            target = _behind(path, tree)
            if target is None or target in above | {place}:
                yield name, None
            elif tree[target].type is EntryType.FOLDER:
                folders.append((target, f"{name}/", above | {place}))
            else:
                yield name, tree[target]


def _behind(path: str, tree: Mapping[str, Entry]) -> str | None:
    """Return the path of the file or folder behind all links. None: it is not in the snapshot."""
    for _ in range(MOST_LINKS):
        entry = tree.get(path)
        if entry is None:
            resolved = _through_parent(path, tree)
            if resolved is None:
                return None
            path = resolved
        elif entry.type is EntryType.SAME:
            path = entry.target
        elif entry.type is EntryType.LINK:
            if entry.target.startswith("/"):
                return None
            path = normpath(PurePosixPath(path).parent / entry.target)
        else:
            return path
    return None


def _through_parent(path: str, tree: Mapping[str, Entry]) -> str | None:
    """Return the path with its nearest parent that is a link replaced by what the link points to, or None."""
    for parent in PurePosixPath(path).parents:
        entry = tree.get(str(parent))
        if entry is not None and entry.type is EntryType.LINK and not entry.target.startswith("/"):
            rest = PurePosixPath(path).relative_to(parent)
            return normpath(PurePosixPath(parent.parent, entry.target, rest))
    return None
