"""Writes a snapshot's tree into a new folder: every chunk is checked, and every file's digest, before it counts.

The folder appears under its own name only when it is whole and on disk. `reading/swap.py` puts it in the place of an
existing folder.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from controlplane.backup.errors import BackupError, Damaged, NoSpace
from controlplane.backup.format.ids import digest_of, file_digest
from controlplane.backup.format.snapshot import Entry, EntryType
from controlplane.backup.repository import Repository
from controlplane.backup.writing.files import Tally

SPARE: Final = 64 << 20
"""Bytes that stay free beyond what a restore writes."""


def check_space(folder: Path, entries: Iterable[Entry]) -> None:
    """Raise NoSpace when the file system of `folder`, or of its nearest parent that exists, has too few bytes free."""
    needed = sum(entry.size for entry in entries if entry.type is EntryType.FILE)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    status = os.statvfs(existing)
    free = status.f_bavail * status.f_frsize
    if needed + SPARE > free:
        raise NoSpace(f"{existing} has {free} bytes free, and the restore needs {needed} and {SPARE} to spare")


def write_tree(repository: Repository, entries: Sequence[Entry], folder: Path, *, lanes: int, tally: Tally) -> None:
    """Write the entries below `folder`, which is made and must not exist.

    Raises Damaged with every file that cannot be restored, NoSpace, BackupError and StoreUnreachable.
    """
    check_space(folder, entries)
    _check_paths(entries)
    with _translated(folder):
        _write_tree(repository, entries, folder, lanes=lanes, tally=tally)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Translate the errors of files below `folder`."""
    try:
        yield
    except OSError as error:
        fault = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else BackupError
        raise fault(f"the restore cannot write {error.filename or folder}: {error.strerror}") from error


def _write_tree(repository: Repository, entries: Sequence[Entry], folder: Path, *, lanes: int, tally: Tally) -> None:
    files = [entry for entry in entries if entry.type is EntryType.FILE]
    tally.files, tally.bytes = len(files), sum(entry.size for entry in files)
    folder.mkdir(mode=0o700, parents=True)
    for entry in entries:
        if entry.type is EntryType.FOLDER:
            (folder / entry.path).mkdir(mode=0o700, parents=True, exist_ok=True)
    with ThreadPoolExecutor(lanes, thread_name_prefix="restore") as pool:
        faults: list[str] = []
        for entry in files:
            faults += _File(repository, entry, folder / entry.path, tally).write(pool, lanes)
    if faults:
        raise Damaged(f"the snapshot ({len(faults)} of {len(files)} files)", "; ".join(faults[:5]))
    for entry in entries:
        _link(folder, entry)
    for entry in reversed(entries):
        if entry.type is EntryType.FOLDER:
            _finish(folder / entry.path, entry)
    _sync(folder)


def _check_paths(entries: Iterable[Entry]) -> None:
    """Raise BackupError for a path that would leave the folder: somebody else may have written the snapshot."""
    links = {entry.path for entry in entries if entry.type is EntryType.LINK}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts:
            raise BackupError(
                f"the snapshot has the path {entry.path!r}, which is outside its tree; nothing was written"
            )
        if any(str(parent) in links for parent in path.parents):
            raise BackupError(f"the snapshot has {entry.path!r} below a link; nothing was written")


class _File:
    """Writes one file, several chunks at once."""

    def __init__(self, repository: Repository, entry: Entry, path: Path, tally: Tally) -> None:
        self._repository, self._entry, self._path, self._tally = repository, entry, path, tally
        self._lock = threading.Lock()

    def write(self, pool: ThreadPoolExecutor, lanes: int) -> list[str]:
        """Write, check and sync the file. Return a sentence when its chunks are damaged."""
        entry = self._entry
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, entry.size)
            self._offsets = self._places()
            digests = list(pool.map(lambda number: self._chunk(handle, number), range(len(entry.chunks))))
            if file_digest(entry.size, digests).hex() != entry.digest:
                return [f"{entry.path}: its bytes have another digest"]
            _give(self._path, entry)
            os.fchmod(handle, entry.mode)
            os.fsync(handle)
            os.utime(handle, ns=(entry.mtime_ns, entry.mtime_ns))
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        except Damaged as error:
            return [f"{entry.path}: {error}"]
        finally:
            os.close(handle)
        return []

    def _places(self) -> list[int]:
        """Return the offset of each chunk in the file. Raises Damaged when the chunks do not make up the file."""
        offsets, end = [], 0
        for identity in self._entry.chunks:
            place = self._repository.index.find(identity)
            if place is None:
                raise Damaged(f"chunk {identity.hex()}", "no pack holds it")
            offsets.append(end)
            end += place.size
        if end != self._entry.size:
            raise Damaged(self._entry.path, f"its chunks have {end} bytes and its size is {self._entry.size}")
        return offsets

    def _chunk(self, handle: int, number: int) -> bytes:
        data = self._repository.chunk(self._entry.chunks[number])
        _write(handle, data, self._offsets[number])
        self._tally.add(len(data))
        return digest_of(data)


def _write(handle: int, data: bytes, offset: int) -> None:
    if not data.strip(b"\0"):
        return  # The file is a hole there already.
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view, offset = view[done:], offset + done


def _link(folder: Path, entry: Entry) -> None:
    path = folder / entry.path
    if entry.type is EntryType.LINK:
        path.symlink_to(entry.target)
        _give(path, entry)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
    elif entry.type is EntryType.SAME:
        os.link(folder / entry.target, path)


def _finish(path: Path, entry: Entry) -> None:
    _sync(path)
    _give(path, entry)
    path.chmod(entry.mode)
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))


def _give(path: Path, entry: Entry) -> None:
    """Give the path to its owner, which only root can."""
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
