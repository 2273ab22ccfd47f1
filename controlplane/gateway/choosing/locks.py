"""Byte-range locks between processes. The kernel frees the locks of a process that is killed."""

from __future__ import annotations

import fcntl
import os


def try_lock(fd: int, at: int, tries: int) -> bool:
    """Lock the byte `at` of a file, in at most `tries` attempts. Return whether the lock is held.

    It never sleeps: a process that was stopped while it held the lock must not stop the others.
    """
    for _ in range(tries):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except OSError:
            os.sched_yield()
        else:
            return True
    return False


def unlock(fd: int, at: int) -> None:
    """Free the byte `at` of a file."""
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, at)
