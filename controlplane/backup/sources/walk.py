"""The files, folders and links below a root, with what tells whether they changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Final

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType

ROOT: Final = "."
"""Path of the root itself."""
UNFINISHED: Final = ("*.incomplete", "*.lock", ".partial-*")
"""Names of files that a download or a backup has not finished, or that only coordinate processes."""

TICK_S: Final = 5.0
"""Longest tick of a file system's clock, in seconds: FAT counts every 2. A file server's clock may be a bit behind."""


@dataclass(frozen=True)
class Mark:
    """Facts of a file that change when it is written to.

    Two equal marks of one machine mean an unchanged file, unless the file changed when its first mark was taken: a
    second change in the same tick of the file system's clock leaves the mark as it was.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    """Writers can set mtime back, and not ctime."""
    inode: int
    device: int
    """Number of the file system: inodes of another one have the same numbers."""

    @classmethod
    def of(cls, status: os.stat_result) -> Mark:
        """Return the mark of a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)

    def settled(self, at: float) -> bool:
        """Return whether every change after `at`, Unix seconds, shows in the mark, as git decides for its index."""
        return max(self.mtime_ns, self.ctime_ns) < (at - TICK_S) * 1e9


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
    """Target of a link. Of a hard link: the path of the earlier file."""


@dataclass(frozen=True)
class Source:
    """Folder, and the part of it, that one snapshot is made of."""

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
    """Sentences about entries that cannot be backed up: sockets, pipes, devices, files behind links."""


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
    return Walk(tuple(found), (*skipped, *_lost(found)))


def _lost(found: Sequence[Found]) -> Iterator[str]:
    """Yield a sentence about links whose targets are not among the entries: a restore brings back the link alone."""
    types = {one.path: one.type for one in found}
    lost = [one for one in found if one.type is EntryType.LINK and not _leads(one, types)]
    if lost:
        first = f"{lost[0].path} -> {lost[0].target}"
        yield (
            f"links that point to nothing in the snapshot: {len(lost)}, such as {first}. The snapshot holds the links,"
            " and not the files behind them. Back up the folder that holds both."
        )


def _leads(link: Found, types: Mapping[str, EntryType]) -> bool:
    if link.target.startswith("/"):
        return False
    target = normpath(PurePosixPath(link.path).parent / link.target)
    # What is behind another link is not followed: that link has its own check.
    behind = any(types.get(str(parent)) is EntryType.LINK for parent in PurePosixPath(target).parents)
    return behind or target in types


def _order(item: tuple[Path, os.stat_result, str]) -> tuple[bool, list[str]]:
    return item[2] != ROOT, item[2].split("/")


def _found(path: str, kind: EntryType, status: os.stat_result, target: str = "") -> Found:
    return Found(path, kind, stat.S_IMODE(status.st_mode), Mark.of(status), (status.st_uid, status.st_gid), target)


def _below(source: Source) -> Iterator[tuple[Path, os.stat_result, str]]:
    try:
        yield source.root, source.root.stat(), ROOT
    except OSError as error:
        raise BackupError(f"{source.root} cannot be backed up: {error.strerror}") from None
    above: set[PurePosixPath] = set()
    for name in _parts(source):
        start = source.root / name
        try:
            status = start.stat()
        except OSError as error:
            raise BackupError(f"{start} cannot be backed up: {error.strerror}") from None
        if not stat.S_ISDIR(status.st_mode):
            raise BackupError(f"{start} cannot be backed up: it is not a folder")
        for parent in [*reversed(name.parents), name][1:]:
            if parent not in above:
                above.add(parent)
                yield source.root / parent, (source.root / parent).stat(), parent.as_posix()
        yield from _inside(start, source)


def _parts(source: Source) -> list[PurePosixPath]:
    """Return the folders to walk, relative to the root, without folders inside another one of them.

    Raises BackupError when a folder is not below the root.
    """
    names = {PurePosixPath(name) for name in source.folders} or {PurePosixPath()}
    for name in names:
        if name.is_absolute() or ".." in name.parts:
            raise BackupError(
                f"{str(name)!r} is no folder below {source.root}: write its path from there, such as rag/1"
            )
    return sorted(name for name in names if names.isdisjoint(name.parents))


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
