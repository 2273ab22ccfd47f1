"""Reads files that hold secrets: regular ones only."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: str | Path, most: int) -> bytes:
    """Return at most `most` bytes of a regular file. Blocking, but never for longer than the disk.

    Raises OSError, also for what is no regular file: a read of a FIFO or of a device may wait or go on for ever, and
    keeps a thread.
    """
    # Without O_NONBLOCK, the opening of a FIFO waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read(most)
