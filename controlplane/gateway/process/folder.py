"""The gateway's data folder: the lock that keeps a second gateway out, and the last good desired state."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from controlplane.gateway.desired.codec import MAX_BYTES, decode, encode
from controlplane.gateway.desired.document import Desired
from controlplane.gateway.errors import BadDesired, GatewayError

LOCK = "gateway.lock"
DESIRED = "desired.json"


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


class Kept(NamedTuple):
    """A desired state from the disk, and its age in seconds."""

    desired: Desired
    age_s: float


class LastGood:
    """The last good desired state, on disk. A write is whole or did not happen, also in a power cut. Blocking."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DESIRED

    def read(self) -> Kept | None:
        """Return the stored state, or None when there is none. Raises BadDesired, which names the file and the cure."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
                age_s = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
            return Kept(decode(data), age_s)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadDesired(f"{self.path}: {error.strerror}") from error
        except BadDesired as error:
            raise BadDesired(f"{self.path}: {error}; delete the file if the control plane can be reached") from error

    def write(self, desired: Desired) -> None:
        """Store a state. Raises GatewayError when the disk does not take it; the former state stays then."""
        try:
            fd, name = tempfile.mkstemp(prefix=f".{DESIRED}-", dir=self.path.parent)  # mode 0600
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(encode(desired))
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise GatewayError(f"{self.path} cannot be written: {error.strerror}") from error
