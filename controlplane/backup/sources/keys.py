"""Keys of a bucket as paths of a tree: folders that keys imply, markers of folders, and keys that fit no tree. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType
from controlplane.backup.sources.walk import ROOT, Found, Mark, Walk, matches, order, parts

FILE_MODE, FOLDER_MODE = 0o644, 0o755
"""Modes that a restore gives: a bucket has none, and an engine of another user must read its models."""


@dataclass(frozen=True)
class Key:
    """One object as it was listed."""

    path: str
    """Path below the prefix."""
    size: int
    mtime_ns: int
    etag: str
    """Empty: the store shows none."""
    marker: bool = False
    """Whether it only marks a folder."""

    def as_marker(self) -> Key:
        """Return the key as the marker of a folder."""
        return replace(self, marker=True)


def sane_tree(
    folders: Sequence[str], include: Sequence[str], exclude: Sequence[str], place: str, keys: Sequence[Key]
) -> Walk:
    """Return the tree that the keys make up.

    Raises BackupError when a folder of `folders` is not there, when nothing is there, and for a key that is a file and
    a folder at once.
    """
    wanted = parts(folders, place)
    inside = [key for key in keys if _is_below(key.path, wanted)]
    for part in wanted:
        if not any(_is_below(key.path, [part]) for key in inside):
            raise BackupError(f"{place}{_tail(part)} cannot be backed up: no object is below it")
    chosen = [key for key in inside if not any(matches(path, exclude) for path in (*_above(key.path), key.path))]
    files = {key.path: key for key in chosen if not key.marker and (not include or matches(key.path, include))}
    times: dict[str, int] = {ROOT: 0}
    for key in chosen:
        for path in (*_above(key.path), *([key.path] if key.marker else []), ROOT):
            times[path] = max(times.get(path, 0), key.mtime_ns)
    for path in files.keys() & times.keys():
        if files[path].size:
            raise BackupError(
                f"{place}/{path} is an object, and the folder of others such as {_child(path, chosen)}: no disk can"
                f" hold both. Rename one, or leave the others out with --exclude {path + '/*'!r}."
            )
        del files[path]  # An empty object of the folder's name: some tools mark folders so.
    found = [found_of(key) for key in files.values()]
    found += [_folder(path, at) for path, at in times.items()]
    return Walk(tuple(sorted(found, key=lambda one: order(one.path))), tuple(_long(found)))


def found_of(key: Key) -> Found:
    """Return the entry of an object."""
    # Without an ETag no mark proves that an object is the same: one of the far future is never settled.
    changed = key.mtime_ns if key.etag else 1 << 62
    mark = Mark(key.size, key.mtime_ns, changed, 0, 0, key.etag)
    return Found(key.path, EntryType.FILE, FILE_MODE, mark, _owner())


def _folder(path: str, mtime_ns: int) -> Found:
    return Found(path, EntryType.FOLDER, FOLDER_MODE, Mark(0, mtime_ns, mtime_ns, 0, 0), _owner())


def _owner() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


def _above(path: str) -> list[str]:
    """Return the paths of the folders above a path, without the root."""
    return [str(parent) for parent in PurePosixPath(path).parents][:-1]


def _is_below(path: str, folders: Sequence[PurePosixPath]) -> bool:
    mine = PurePosixPath(path)
    return any(mine.is_relative_to(folder) for folder in folders)


def _tail(part: PurePosixPath) -> str:
    return "" if part == PurePosixPath() else f"/{part}"


def _child(path: str, keys: Sequence[Key]) -> str:
    return next((key.path for key in keys if key.path.startswith(f"{path}/")), path)


def _long(found: Sequence[Found]) -> Iterator[str]:
    """Yield a sentence about names that no file system of Linux can hold: a restore of the whole tree would fail."""
    long = [one.path for one in found if any(len(name.encode()) > 255 for name in one.path.split("/"))]
    if long:
        yield (
            f"names longer than 255 bytes: {len(long)}, such as {long[0][:80]}…. A restore cannot write them: restore"
            " the other files with --file."
        )
