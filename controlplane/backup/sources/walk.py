"""The files, folders and links below a root, with what tells whether they changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Final, Protocol

from controlplane.backup.errors import BackupError
from controlplane.backup.format.snapshot import EntryType

ROOT: Final = "."
"""Path of the root itself."""
UNFINISHED: Final = ("*.incomplete", "*.lock", ".partial-*")
"""Names of files that a download or a backup has not finished, or that only coordinate processes."""

GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
"""Errors of an entry that was deleted after it was listed. ESTALE is a file server's word for it."""
TICK_S: Final = 5.0
"""Longest tick of a file system's clock, in seconds: FAT counts every 2. A file server's clock may be a bit behind."""


MOST_LINKS: Final = 40
"""Most links that are followed one after another, as Linux does."""


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
    etag: str = ""
    """ETag of an object of a bucket, which another content does not have. Empty: of a file on disk."""

    @classmethod
    def of(cls, status: os.stat_result) -> Mark:
        """Return the mark of a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)

    def settled(self, at: float) -> bool:
        """Return whether every change after `at`, Unix seconds, shows in the mark, as git decides for its index."""
        return bool(self.etag) or max(self.mtime_ns, self.ctime_ns) < (at - TICK_S) * 1e9


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
    address: str = ""
    """Address that the snapshot names. Empty: the root's."""

    @property
    def across_machines(self) -> bool:
        """Whether marks of one machine mean the same on another: inodes and times of a disk do not."""
        return False

    @property
    def uri(self) -> str:
        """Address that the snapshot names, and by which a later run finds it."""
        return self.address or self.root.absolute().as_uri()


@dataclass(frozen=True)
class Walk:
    """The result of a walk."""

    found: tuple[Found, ...]
    """The root first, then the order of paths: each folder before what it contains."""
    skipped: tuple[str, ...]
    """Sentences about entries that cannot be backed up: sockets, pipes, devices, files behind links."""
    vanished: tuple[str, ...] = ()
    """Paths that were listed, and were gone before they could be looked at."""


def walk(source: Source) -> Walk:
    """Return what is below the source's root. Raises BackupError when a folder or a file cannot be looked at."""
    found: list[Found] = []
    skipped: list[str] = []
    vanished: list[str] = []
    seen: dict[tuple[int, int], str] = {}
    for entry, status, path in sorted(_below(source, vanished), key=lambda item: order(item[2])):
        kind = status.st_mode
        if stat.S_ISDIR(kind):
            found.append(_found(path, EntryType.FOLDER, status))
        elif stat.S_ISLNK(kind):
            if (target := _target(entry)) is None:
                vanished.append(path)
            else:
                found.append(_found(path, EntryType.LINK, status, target))
        elif not stat.S_ISREG(kind):
            skipped.append(f"{path} is neither a file, a folder nor a link")
        elif status.st_nlink > 1 and (earlier := seen.setdefault((status.st_dev, status.st_ino), path)) != path:
            found.append(_found(path, EntryType.SAME, status, earlier))
        else:
            found.append(_found(path, EntryType.FILE, status))
    return Walk(tuple(found), (*skipped, *_lost(found)), tuple(vanished))


class Named(Protocol):
    """An entry of a tree: found on disk, or of a snapshot."""

    @property
    def path(self) -> str:
        """Path below the root."""
        ...

    @property
    def type(self) -> EntryType:
        """Type of the entry."""
        ...

    @property
    def target(self) -> str:
        """Target of a link."""
        ...


def link_names(found: Iterable[Named]) -> dict[str, list[str]]:
    """Return the names of links to files below the root, by the paths of the files. Links to links are followed."""
    leads = {one.path: to for one in found if (to := _leads_to(one))}
    names: dict[str, list[str]] = {}
    for path, target in leads.items():
        for _ in range(MOST_LINKS):
            if target not in leads:
                names.setdefault(target, []).append(path)
                break
            target = leads[target]
    return names


def _leads_to(one: Named) -> str:
    """Return the path below the root that a link leads to; "" for what is no link, and for a path of the machine."""
    if one.type is EntryType.SAME:
        return one.target
    if one.type is EntryType.LINK and not one.target.startswith("/"):
        return normpath(PurePosixPath(one.path).parent / one.target)
    return ""


def _target(link: Path) -> str | None:
    """Return what a link points to. None: it is gone, or no link any more."""
    try:
        return str(link.readlink())
    except OSError as error:
        if error.errno in (*GONE, errno.EINVAL):
            return None
        raise BackupError(f"{link} cannot be looked at: {error.strerror}") from None


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
    target = _leads_to(link)
    if not target:
        return False
    # What is behind another link is not followed: that link has its own check.
    behind = any(types.get(str(parent)) is EntryType.LINK for parent in PurePosixPath(target).parents)
    return behind or target in types


def order(path: str) -> tuple[bool, list[str]]:
    """Return the key that sorts paths: the root first, then each folder before what it contains."""
    return path != ROOT, path.split("/")


def _found(path: str, kind: EntryType, status: os.stat_result, target: str = "") -> Found:
    return Found(path, kind, stat.S_IMODE(status.st_mode), Mark.of(status), (status.st_uid, status.st_gid), target)


def _below(source: Source, vanished: list[str]) -> Iterator[tuple[Path, os.stat_result, str]]:
    try:
        yield source.root, source.root.stat(), ROOT
    except OSError as error:
        raise BackupError(f"{source.root} cannot be backed up: {error.strerror}") from None
    above: set[PurePosixPath] = set()
    for name in parts(source.folders, str(source.root)):
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
                if (seen := _look(source.root / parent, follow=True)) is None:
                    vanished.append(parent.as_posix())
                else:
                    yield source.root / parent, seen, parent.as_posix()
        yield from _inside(start, source, vanished)


def parts(folders: Sequence[str], root: str) -> list[PurePosixPath]:
    """Return the folders to walk, relative to the root, without folders inside another one of them.

    Raises BackupError when a folder is not below the root.
    """
    names = {PurePosixPath(name) for name in folders} or {PurePosixPath()}
    for name in names:
        if name.is_absolute() or ".." in name.parts:
            raise BackupError(f"{str(name)!r} is no folder below {root}: write its path from there, such as rag/1")
    return sorted(name for name in names if names.isdisjoint(name.parents))


def _inside(top: Path, source: Source, vanished: list[str]) -> Iterator[tuple[Path, os.stat_result, str]]:
    """Yield what is below a folder. Folders may be nested as deep as paths can be long."""
    folders = [top]
    while folders:
        for entry in _entries(folders.pop(), source, vanished):
            path = entry.relative_to(source.root).as_posix()
            if matches(path, source.exclude):
                continue
            # The tree without an entry that was deleted is as true as the tree with it.
            if (status := _look(entry)) is None:
                vanished.append(path)
            elif stat.S_ISDIR(status.st_mode):
                yield entry, status, path
                folders.append(entry)
            elif not source.include or matches(path, source.include):
                yield entry, status, path


def _entries(folder: Path, source: Source, vanished: list[str]) -> list[Path]:
    """Return what is in a folder; nothing when the folder itself is gone. Raises BackupError."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries]
    except OSError as error:
        if error.errno in GONE:
            vanished.append(folder.relative_to(source.root).as_posix())
            return []
        raise BackupError(f"the folder {folder} cannot be read: {error.strerror}") from None


def _look(path: Path, *, follow: bool = False) -> os.stat_result | None:
    """Return the status of an entry. None: it is gone. Raises BackupError."""
    try:
        return path.stat(follow_symlinks=follow)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise BackupError(f"{path} cannot be looked at: {error.strerror}") from None


def matches(path: str, globs: Sequence[str]) -> bool:
    """Return whether a glob matches the path or its name. A path with a bracket in it matches itself, too."""
    name = PurePosixPath(path).name
    return any(glob in (path, name) or fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs)
