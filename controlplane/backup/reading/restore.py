"""Writes a snapshot's tree into a new folder: every chunk is checked, and every file's digest, before it counts.

The folder appears under its own name only when it is whole and on disk. `reading/swap.py` puts it in the place of an
existing folder.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from controlplane.backup.direct import ALIGNED
from controlplane.backup.errors import BackupError, Damaged, NoSpace
from controlplane.backup.format.pack import CHUNK_LIMIT
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.reading.file import FileWriter, Lane
from controlplane.backup.repository import Repository
from controlplane.backup.tally import Tally
from controlplane.whole_file import sync_folder

SPARE: Final = 64 << 20
"""Bytes that stay free beyond what a restore writes."""


def check_space(repository: Repository, folder: Path, entries: Sequence[Entry]) -> None:
    """Raise NoSpace when the file system of `folder`, or of its nearest parent that exists, has too little room.

    Chunks of zeros become holes, which take no room. Files take whole blocks, and each entry but a hard link an inode.
    Raises BackupError when this user may not look at the folder.
    """
    with _translated(folder):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        status = os.statvfs(existing)
    files = [entry for entry in entries if entry.type is EntryType.FILE]
    needed = sum(_room(repository, entry, max(1, status.f_frsize)) for entry in files)
    free = status.f_bavail * status.f_frsize
    if needed + SPARE > free:
        raise NoSpace(f"{existing} has {free} bytes free, and the restore needs {needed} and {SPARE} to spare")
    inodes = sum(entry.type is not EntryType.SAME for entry in entries)
    # File systems without a fixed number of inodes say that they have none at all.
    if status.f_files and inodes > status.f_favail:
        raise NoSpace(f"{existing} has {status.f_favail} inodes free, and the restore needs {inodes}")


def _room(repository: Repository, entry: Entry, block: int) -> int:
    """Return the bytes that a file takes at most: a hole may share its first and last block with what is beside it."""
    holes = sum(identity == repository.zeros for identity in entry.chunks)
    return -(-entry.size // block) * block - holes * (CHUNK_LIMIT - 2 * ALIGNED)


def write_tree(
    repository: Repository,
    entries: Sequence[Entry],
    folder: Path,
    *,
    lanes: int,
    tally: Tally,
    partial: bool = False,
) -> tuple[str, ...]:
    """Write the entries below `folder`, which is made and must not exist.

    With `partial` damaged files are left out, and the result has a sentence for each; without it the result is empty.
    Raises Damaged with every file that cannot be restored, or when none can, NoSpace, BackupError and StoreUnreachable.
    """
    check_space(repository, folder, entries)
    _check_paths(entries)
    with _translated(folder):
        return _write_tree(repository, entries, folder, lanes=lanes, tally=tally, partial=partial)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Translate the errors of files below `folder`."""
    try:
        yield
    except OSError as error:
        fault = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else BackupError
        raise fault(f"the restore cannot write {error.filename or folder}: {error.strerror}") from error


def _write_tree(
    repository: Repository, entries: Sequence[Entry], folder: Path, *, lanes: int, tally: Tally, partial: bool
) -> tuple[str, ...]:
    files = [entry for entry in entries if entry.type is EntryType.FILE]
    tally.files, tally.bytes = len(files), sum(entry.size for entry in files)
    folder.mkdir(mode=0o700, parents=True)
    for entry in entries:
        if entry.type is EntryType.FOLDER:
            (folder / entry.path).mkdir(mode=0o700, parents=True, exist_ok=True)
    lane = Lane()
    with ThreadPoolExecutor(lanes, thread_name_prefix="restore") as pool:
        words = [_file(repository, entry, folder / entry.path, tally, lane, pool) for entry in files]
    faults = [sentence for sentence in words if sentence]
    if faults and (not partial or len(faults) == len(files)):
        raise Damaged(f"the snapshot ({len(faults)} of {len(files)} files)", "; ".join(faults[:5]))
    lost = {entry.path for entry, sentence in zip(files, words, strict=True) if sentence}
    for entry in entries:
        if entry.type is EntryType.SAME and entry.target in lost:
            faults.append(f"{entry.path}: it is the same file as {entry.target}")
        else:
            _link(folder, entry)
    for entry in reversed(entries):
        if entry.type is EntryType.FOLDER:
            _finish(folder / entry.path, entry)
    sync_folder(folder)
    return tuple(faults)


def _check_paths(entries: Iterable[Entry]) -> None:
    """Raise BackupError for a path that would leave the folder: somebody else may have written the snapshot."""
    seen: dict[str, EntryType] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != entry.path or "\0" in entry.path:
            raise BackupError(
                f"the snapshot has the path {entry.path!r}, which is outside its tree; nothing was written"
            )
        if entry.path in seen:
            raise BackupError(f"the snapshot has {entry.path!r} twice; nothing was written")
        if any(seen.get(str(parent), EntryType.FOLDER) is not EntryType.FOLDER for parent in path.parents):
            raise BackupError(f"the snapshot has {entry.path!r} below what is no folder; nothing was written")
        if entry.type is EntryType.SAME and seen.get(entry.target) is not EntryType.FILE:
            raise BackupError(
                f"the snapshot says that {entry.path!r} is the same file as {entry.target!r}, which is no earlier file"
                " of it; nothing was written"
            )
        seen[entry.path] = entry.type


def _file(repository: Repository, entry: Entry, path: Path, tally: Tally, lane: Lane, pool: ThreadPoolExecutor) -> str:
    """Write a file. Return a sentence when it is damaged, or "". Nothing is left of a damaged file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        FileWriter(repository, entry, tally, lane).write(path, pool)
    except Damaged as error:
        path.unlink(missing_ok=True)
        return f"{entry.path}: {error}"
    _give(path, entry)
    path.chmod(_mode(entry))
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
    return ""


def _link(folder: Path, entry: Entry) -> None:
    path = folder / entry.path
    if entry.type in (EntryType.LINK, EntryType.SAME):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if entry.type is EntryType.LINK:
        path.symlink_to(entry.target)
        _give(path, entry)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
    elif entry.type is EntryType.SAME:
        os.link(folder / entry.target, path)


def _finish(path: Path, entry: Entry) -> None:
    sync_folder(path)
    _give(path, entry)
    path.chmod(_mode(entry))
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))


def _mode(entry: Entry) -> int:
    """Return the permission bits. Without its owner a program must not run as whoever restored it."""
    return entry.mode if os.geteuid() == 0 else entry.mode & ~0o6000


def _give(path: Path, entry: Entry) -> None:
    """Give the path to its owner, which only root can."""
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
