"""Byte-range locks between processes. The kernel frees the locks of a process that is killed."""

from __future__ import annotations

import fcntl
import os
import time

YIELDS = 8
"""Attempts before the first sleep. A holder that runs is done within a microsecond."""
SLEEP_S = 0.0001
STUCK_S = 0.02
"""Seconds after which a holder counts as stopped. Chosen: a busy machine takes a holder's core away for some
milliseconds."""


def try_lock(fd: int, at: int, patience_s: float = STUCK_S) -> bool:
    """Lock the byte `at` of a file, within `patience_s` seconds. Return whether the lock is held.

    A process that was stopped while it held the lock must not stop the others, so every wait has an end.
    """
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
    except OSError:
        return _insist(fd, at, patience_s)
    return True


def unlock(fd: int, at: int) -> None:
    """Free the byte `at` of a file."""
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, at)


def _insist(fd: int, at: int, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    tries = 0
    while tries < YIELDS or time.monotonic() < until:
        tries += 1
        if tries <= YIELDS:
            os.sched_yield()
        else:
            time.sleep(SLEEP_S)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except OSError:
            continue
        return True
    return False
