"""The lock of a folder: only one process may write to it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from controlplane.metrics.storage.errors import StorageError, StorageLocked


def lock_folder(path: Path) -> int:
    """Lock the folder for this process, and make it if it does not exist. Return the descriptor of the lock.

    Raises StorageLocked when another process has the lock, StorageError when the folder cannot be used.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: cannot be used for metrics: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StorageLocked(
            f"{path}: another control plane keeps its metrics here; stop it, or give this one another --data-dir"
        ) from error
    except OSError as error:
        os.close(lock)
        raise StorageError(f"{path}: cannot be locked: {error.strerror}; metrics need a local file system") from error
    return lock
