"""The lock of a data folder: it keeps a second gateway out."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from controlplane.gateway.errors import GatewayError

LOCK = "gateway.lock"


class FolderLock:
    """The lock of a data folder. It belongs to an open file, so it can be handed to a successor, and ends with it."""

    def __init__(self, fd: int) -> None:
        """Take over a locked file. Callers use `take`."""
        self.fd = fd

    @classmethod
    def take(cls, folder: Path) -> FolderLock | None:
        """Return the lock, or None when another gateway holds it. Raises GatewayError when it cannot be tried."""
        try:
            fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
        except OSError as error:
            raise GatewayError(f"{folder / LOCK}: {error.strerror}; choose another --data-dir") from error
        lock = cls(fd)
        lock.sign()
        return lock

    def sign(self) -> None:
        """Write this process's id into the file, for people and for `controlplane up`."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give this process's hold up. A successor that got the file keeps the lock."""
        os.close(self.fd)


def holder(folder: Path) -> int | None:
    """Return the process id of the gateway that uses a data folder, or None. Blocking."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return None
