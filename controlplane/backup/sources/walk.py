"""The files, folders and links below a root, with what tells whether they changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType

ROOT: Final = "."
"""Path of the root itself."""
UNFINISHED: Final = ("*.incomplete", "*.lock", ".partial-*")
"""Names of files that a download or a backup has not finished, or that only coordinate processes."""


@dataclass(frozen=True)
class Mark:
    """What changes when a file is written to. Two equal marks mean an unchanged file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    """Writers can set mtime back, and not ctime."""
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Mark:
        """Return the mark of a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True)
class Found:
    """One entry below the root."""

    path: str
    """Path below the root, with `/`."""
    type: EntryType
    mode: int
    mark: Mark
    owner: tuple[int, int]
    """Numbers of user and group."""
    target: str = ""
    """What a link points to; of a hard link the path of the earlier file."""


@dataclass(frozen=True)
class Source:
    """What one snapshot is made of."""

    root: Path
    folders: tuple[str, ...] = ()
    """Folders below the root, such as an ensemble and its members. Empty: all of the root."""
    include: tuple[str, ...] = ()
    """Globs of paths below the root. Empty: every file."""
    exclude: tuple[str, ...] = UNFINISHED
    """Globs of paths, or of names, that are left out."""


@dataclass(frozen=True)
class Walk:
    """The result of a walk."""

    found: tuple[Found, ...]
    """The root first, then the order of paths: each folder before what it contains."""
    skipped: tuple[str, ...]
    """Sentences about entries that cannot be backed up: sockets, pipes, devices."""


def walk(source: Source) -> Walk:
    """Return what is below the source's root. Raises BackupError when a folder or a file cannot be looked at."""
    found: list[Found] = []
    skipped: list[str] = []
    seen: dict[tuple[int, int], str] = {}
    for entry, status, path in sorted(_below(source), key=_order):
        kind = status.st_mode
        if stat.S_ISDIR(kind):
            found.append(_found(path, EntryType.FOLDER, status))
        elif stat.S_ISLNK(kind):
            found.append(_found(path, EntryType.LINK, status, str(entry.readlink())))
        elif not stat.S_ISREG(kind):
            skipped.append(f"{path} is neither a file, a folder nor a link")
        elif status.st_nlink > 1 and (earlier := seen.setdefault((status.st_dev, status.st_ino), path)) != path:
            found.append(_found(path, EntryType.SAME, status, earlier))
        else:
            found.append(_found(path, EntryType.FILE, status))
    return Walk(tuple(found), tuple(skipped))


def _order(item: tuple[Path, os.stat_result, str]) -> tuple[bool, list[str]]:
    return item[2] != ROOT, item[2].split("/")


def _found(path: str, kind: EntryType, status: os.stat_result, target: str = "") -> Found:
    return Found(path, kind, stat.S_IMODE(status.st_mode), Mark.of(status), (status.st_uid, status.st_gid), target)


def _below(source: Source) -> Iterator[tuple[Path, os.stat_result, str]]:
    try:
        yield source.root, source.root.stat(), ROOT
    except OSError as error:
        raise BackupError(f"{source.root} cannot be backed up: {error.strerror}") from None
    starts = [source.root / name for name in source.folders] or [source.root]
    for start in starts:
        try:
            status = start.stat()
        except OSError as error:
            raise BackupError(f"{start} cannot be backed up: {error.strerror}") from None
        if not stat.S_ISDIR(status.st_mode):
            raise BackupError(f"{start} cannot be backed up: it is not a folder")
        if source.folders:
            yield start, status, start.relative_to(source.root).as_posix()
        yield from _inside(start, source)


def _inside(folder: Path, source: Source) -> Iterator[tuple[Path, os.stat_result, str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise BackupError(f"the folder {folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        path = Path(entry.path).relative_to(source.root).as_posix()
        if _matches(path, source.exclude):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # It was deleted after the listing: the tree without it is as true as the tree with it.
        except OSError as error:
            raise BackupError(f"{entry.path} cannot be looked at: {error.strerror}") from None
        if stat.S_ISDIR(status.st_mode):
            yield Path(entry.path), status, path
            yield from _inside(Path(entry.path), source)
        elif not source.include or _matches(path, source.include):
            yield Path(entry.path), status, path


def _matches(path: str, globs: Sequence[str]) -> bool:
    name = PurePosixPath(path).name
    return any(fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs)
