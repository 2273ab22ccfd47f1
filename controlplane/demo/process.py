"""Child processes of the demo: own group, a log file, and no life after the parent's."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from controlplane.errors import Unavailable

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends to a child when the thread that forked it ends."""


class ChildDied(Unavailable):
    """A child process ended by itself; the message quotes the end of its log."""


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return `count` different TCP ports that nothing listens on now. All are held open until the last is found."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.bind((host, 0))
            ports.append(int(sock.getsockname()[1]))
        return ports


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True


def process_exists(pid: int) -> bool:
    """Whether a process has this id now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def log_tail(path: Path, lines: int = 8) -> str:
    """The last non-empty lines of a log file, for an error message; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _die_with_parent() -> Callable[[], None] | None:
    """Return the function that a child runs between fork and exec, so that `kill -9` of the parent ends it too."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def run() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended between fork and prctl: no signal will come any more
            os.kill(os.getpid(), signal.SIGKILL)

    return run


class Child:
    """One child process, started by `start` and ended by `stop`; its output goes to `log_path`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self.name, self.log_path, self._process = name, log_path, process

    @classmethod
    async def start(
        cls, name: str, argv: Sequence[str | Path], log_path: Path, *, env: Mapping[str, str] | None = None
    ) -> Self:
        """Start `argv` in a process group of its own. Raises ChildDied where it cannot be executed."""
        with log_path.open("ab") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *map(str, argv),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(os.environ if env is None else env),
                    process_group=0,
                    preexec_fn=_die_with_parent(),
                )
            except OSError as error:
                raise ChildDied(f"{name}: cannot run {argv[0]}: {error}") from error
        return cls(name, process, log_path)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status (negative: the signal), None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end and return the exit status."""
        return await self._process.wait()

    def death(self) -> ChildDied:
        """Say how it ended, and the last lines that it wrote."""
        code = self.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        tail = log_tail(self.log_path)
        return ChildDied(f"{self.name} ended ({how}); log {self.log_path}" + (f", last lines:\n{tail}" if tail else ""))

    def kill(self) -> None:
        """End the whole process group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, grace_s: float = 5.0) -> int:
        """SIGTERM, SIGKILL after `grace_s` seconds; then end whatever is left of its group. Idempotent."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), grace_s)
            except TimeoutError:
                self.kill()
                await self._process.wait()
            else:
                self.kill()  # helpers that it left behind; a group lives on under its id while it has members
        return await self._process.wait()
