"""A process that locks bytes of a file, for as long as a test wants."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.patience import wait_until

_HOLDER = """
import fcntl, sys, time
fd, byte, length, ends_after, busy = (float(word) for word in sys.argv[1:])
fcntl.lockf(int(fd), fcntl.LOCK_EX, int(length), int(byte))
print("locked", flush=True)
if not ends_after:
    sys.stdin.read()
elif busy:
    until = time.monotonic() + ends_after
    while time.monotonic() < until:
        pass
else:
    time.sleep(ends_after)
"""


class LockHolder:
    """Holds `length` bytes from `byte` on, until the `with` ends or for `ends_after_s` seconds.

    `busy`: it runs all the time. Otherwise it sleeps.
    """

    def __init__(self, fd: int, byte: int, length: int = 1, *, ends_after_s: float = 0.0, busy: bool = False) -> None:
        words = [str(word) for word in (fd, byte, length, ends_after_s, int(busy))]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd]
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"locked\n"

    def stop(self) -> None:
        """Stop the process (SIGSTOP), and wait until it is stopped."""
        self._process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state(self.pid) == "T")

    def go_on(self) -> None:
        """Let the process go on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)
        wait_until(lambda: state(self.pid) != "T")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def state(pid: int) -> str:
    """Return the state of a process, as proc(5) has it: T when it is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
