"""How long a process waits for a byte of a file that another process has locked.

The kernel frees the locks of a process that dies, and not those of one that is stopped (SIGSTOP, a debugger). So the
one that waits asks the kernel who holds the lock (F_GETLK), and the holder's state (`/proc/PID/stat`, see proc(5)). A
holder that is stopped is passed by. A holder that only has no core, or waits for the disk, is waited for: to pass it by
would let two processes into one update. It is passed by after LATE_S all the same, so that every wait has an end.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SPINS = 20
"""Tries before the first sleep. Chosen: a holder that runs is done within a few."""
SLEEP_S = 0.0001
LOOK_S = 0.02
"""Seconds between two looks at the holder. Chosen: a look takes 20 us, and an update 10 us."""
LATE_S = 1.0
"""Seconds after which one holder that is not stopped, or whose state is unknown, is passed by. Chosen: the scheduler
gives a runnable process of the lowest priority its turn several times in it, and clients bear a second once. Time in
which the waiting process itself had no core does not count."""
_LOOKS = round(LATE_S / LOOK_S)
_STOPPED = "Tt"
"""States of proc(5): stopped by a signal, and by a debugger."""
_FLOCK = struct.Struct("@hhqqi")
"""struct flock of Linux: type, whence, start, length, process id."""


class Patience:
    """The patience of one process with one lock. It remembers that it passed a holder by, and does not wait again."""

    __slots__ = ("_late", "spent")

    def __init__(self) -> None:
        self.spent = False
        """Whether a holder was passed by and the lock was not had since."""
        self._late = False

    def renew(self) -> None:
        """Wait in full again: the lock was had."""
        self.spent = self._late = False

    def pauses(self, fd: int, byte: int) -> Iterator[None]:
        """Pause again and again, with a try of the caller after each pause. The end says: pass the holder by."""
        for _ in range(SPINS):
            os.sched_yield()
            yield
        if self._late:
            return
        last, looks = 0, 0
        look_at = time.monotonic() + (0.0 if self.spent else LOOK_S)
        while True:
            now = time.monotonic()
            if now >= look_at:
                look_at = now + LOOK_S
                pid = holder(fd, byte)
                # A lock that goes from hand to hand is no lock of a stopped process.
                looks = looks + 1 if pid == last else 1
                last = pid
                if pid and is_stopped(pid):
                    self.spent = True
                    return
                if looks > _LOOKS:
                    self.spent = self._late = True
                    return
            time.sleep(SLEEP_S)
            yield


def holder(fd: int, byte: int) -> int:
    """Return the id of the process that has locked a byte. 0: nobody has, or it cannot be known here."""
    if sys.platform != "linux":
        return 0
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        found, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked)[: _FLOCK.size])
    except OSError:
        return 0
    # Processes of another machine have negative ids, and those of a foreign namespace the id 0.
    return 0 if found == fcntl.F_UNLCK else max(0, int(pid))


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped. False: it is not, or it is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The name in brackets may hold anything, brackets included.
    return stat.rpartition(b")")[2].decode().split()[:1] in ([state] for state in _STOPPED)
