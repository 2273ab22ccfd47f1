"""A repository in a folder: each object is a file, written beside, synced and renamed."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from controlplane.backup.direct import ALIGNED, open_direct, read_at, write_at
from controlplane.backup.errors import NoSpace, StoreUnreachable
from controlplane.backup.format.buffers import Buffer
from controlplane.backup.storage.store import Stored
from controlplane.whole_file import sync_folder

_TEMPORARY: Final = ".partial-"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FolderStore:
    """Objects in a folder. The page cache keeps what engines need: large objects pass beside it where that works."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, root.absolute().as_uri()

    def put(self, name: str, data: Buffer) -> None:
        """Write a whole object durably."""
        path = self.root / name
        with self._beside(name, data) as partial:
            partial.rename(path)

    def create(self, name: str, data: Buffer) -> bool:
        """Write a whole object unless there is one. Return whether it was written."""
        path = self.root / name
        with self._beside(name, data) as partial:
            try:
                path.hardlink_to(partial)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # A file system without hard links. A reader may see a part of it, which no reader takes for a whole.
                try:
                    _write(path, memoryview(data))
                except FileExistsError:
                    return False
            return True

    @contextmanager
    def _beside(self, name: str, data: Buffer) -> Iterator[Path]:
        """Yield a new file with the data beside its place. What is left of it after the block is deleted."""
        path = self.root / name
        partial = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        with _told(self.address, name):
            _make_folders(path.parent)
            try:
                _write(partial, memoryview(data))
                yield partial
            finally:
                with suppress(OSError):
                    partial.unlink()
            sync_folder(path.parent)

    def get(self, name: str, limit: int) -> bytes:
        """Return a whole object. Raises FileNotFoundError, and StoreUnreachable when it is over `limit` bytes."""
        with _told(self.address, name), (self.root / name).open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreUnreachable(f"{self.address}: {name} has more than {limit} bytes, which no such object has")
        return data

    def read_into(self, name: str, offset: int, out: memoryview) -> int:
        """Read bytes from an offset into `out`, and return their number."""
        with _told(self.address, name):
            handle = os.open(self.root / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                got = read_at(handle, out, offset, len(out))
                os.posix_fadvise(handle, offset, len(out), os.POSIX_FADV_DONTNEED)
                return got
            finally:
                os.close(handle)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects below a prefix."""
        with _told(self.address, prefix):
            yield from self._below(self.root / prefix, prefix)

    def _below(self, folder: Path, prefix: str) -> Iterator[Stored]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(folder / entry.name, f"{prefix}{entry.name}/")
            elif not entry.name.startswith(_TEMPORARY):
                # Another process may delete the object between the listing and this call.
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield Stored(prefix + entry.name, status.st_size, status.st_mtime)

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        path = self.root / name
        with _told(self.address, name), suppress(FileNotFoundError):
            path.unlink()
            sync_folder(path.parent)

    def tidy(self, older_than_s: float) -> None:
        """Delete unfinished files. Their age counts by the file system's clock, which a new file shows."""
        probe = self.root / f"{_TEMPORARY}{uuid.uuid4().hex}"
        with _told(self.address, "unfinished files"):
            probe.touch(0o600)
            now = probe.stat().st_mtime
            probe.unlink()
            for path in self.root.rglob(f"{_TEMPORARY}*"):
                with suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > older_than_s:
                        path.unlink()


@contextmanager
def _told(address: str, name: str) -> Iterator[None]:
    """Translate the errors of files, but FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise NoSpace(f"{address} is full: {name} could not be written ({reason})") from error
        raise StoreUnreachable(f"{address}: {name}: {reason}") from error


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def _write(path: Path, data: memoryview) -> None:
    """Write a new file and sync it, beside the page cache when its length allows."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    whole_blocks = len(data) >= ALIGNED and len(data) % ALIGNED == 0
    handle = open_direct(path, flags) if whole_blocks else os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        write_at(handle, data, 0)
        os.fdatasync(handle)
    finally:
        os.close(handle)
