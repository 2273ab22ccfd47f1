"""The beginning of a child process: `python -m controlplane.backup.jobs.leashed PARENT PROGRAM [ARGUMENT…]`.

The process becomes PROGRAM, and keeps what is set here: it ends with its parent, also when the parent is killed, and it
leaves the processor and the disk to others first. It is a program of its own because nothing can be set safely between
fork and exec in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Sequence
from typing import Final

GENTLE: Final = 10
"""Niceness: scraping and rules on the same machine go first."""
PR_SET_PDEATHSIG: Final = 1
IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
"""Number of the system call ioprio_set by machine; libc has no function for it. Source: Linux's tables of calls."""
IOPRIO_WHO_PROCESS: Final = 1
LOWEST_BEST_EFFORT: Final = (2 << 13) | 7
"""Class 2 (best effort), level 7 of 0 to 7. Source: ioprio_set(2)."""
ORPHAN: Final = 70
"""Exit code of a child whose parent ended before it could be bound to it. Source: sysexits.h, EX_SOFTWARE."""


def leashed(command: Sequence[str], parent: int) -> list[str]:
    """Return the words that run a command on the leash of the process `parent`."""
    return [sys.executable, "-m", "controlplane.backup.jobs.leashed", str(parent), *command]


def be_gentle() -> None:
    """Raise this process's niceness to that of a backup. A higher one stays."""
    os.nice(max(0, GENTLE - os.nice(0)))


def main(words: Sequence[str]) -> None:
    """Bind this process to its parent, make it gentle, and become the program."""
    parent, command = int(words[0]), list(words[1:])
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        # SIGKILL: a child that hangs must end, too. The note that it leaves in the repository is ignored after a day.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if (number := IOPRIO_SET.get(platform.machine())) is not None:
            libc.syscall(number, IOPRIO_WHO_PROCESS, 0, LOWEST_BEST_EFFORT)
    if os.getppid() != parent:  # it ended before prctl: no signal will come any more
        sys.exit(ORPHAN)
    be_gentle()
    # A service manager sends SIGTERM to all processes. The control plane stops this one, and records why it ended.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A shell starts programs in the background with SIGINT ignored; the control plane stops this one by it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - there is no shell


if __name__ == "__main__":
    main(sys.argv[1:])
