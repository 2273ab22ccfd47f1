"""Byte-range locks between processes. The kernel frees the locks of a process that is killed."""

from __future__ import annotations

import fcntl

from controlplane.gateway.patience import Patience

_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB


def try_lock(fd: int, at: int, patience: Patience) -> bool:
    """Lock the byte `at` of a file. Return whether the lock is held: not when its holder was to be passed by."""
    try:
        fcntl.lockf(fd, _TRY, 1, at)
    except OSError:
        return _insist(fd, at, patience)
    if patience.spent:
        patience.renew()
    return True


def unlock(fd: int, at: int) -> None:
    """Free the byte `at` of a file."""
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, at)


def _insist(fd: int, at: int, patience: Patience) -> bool:
    for _ in patience.pauses(fd, at):
        try:
            fcntl.lockf(fd, _TRY, 1, at)
        except OSError:
            continue
        patience.renew()
        return True
    return False
