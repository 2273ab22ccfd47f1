"""Programs in processes that are forked from one that has imported the control plane.

A start of the interpreter and the imports of `controlplane up` take 2.3 s of CPU, and a file of tests may start many.
A forked program has its own arguments, folder, environment, output and signals. It is killed and ends like any other.
Tests of a program's start itself have no use for it.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

from tests.patience import PROCESS_S
from tests.unit.controlplane.cli.backups.forked import end

ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "controlplane.cli.gateway",
    "controlplane.cli.local",
    "controlplane.app.check",
    "controlplane.app.serve",
    "controlplane.gateway.process.supervisor",
    "tests.fakes.token_engine",
)
"""Modules that are imported before a fork."""


class Forked:
    """A program that runs, with as much of `asyncio.subprocess.Process` as tests need."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, _unknown()
        self._ended = os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        """Send it a signal. Raises ProcessLookupError when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._ended, number)

    def terminate(self) -> None:
        """Ask it to end. Raises ProcessLookupError when it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it. Raises ProcessLookupError when it has ended."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end, and return the exit status, or the negative number of the signal that ended it."""
        if self.returncode is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._ended, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._ended)
            if self.returncode is None:  # nobody else waited
                self.returncode = _asked({"wait": self.pid})
                os.close(self._ended)
        assert self.returncode is not None
        return self.returncode


def _unknown() -> int | None:
    return None


def fork(words: Sequence[str], folder: Path, environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]) -> Forked:
    """Run `python -m WORDS` in a folder, with these files as its output."""
    asked = {"words": list(words), "folder": str(folder), "environment": dict(environment)}
    return Forked(_asked(asked, (out.fileno(), err.fileno())))


def _asked(question: Mapping[str, Any], files: Sequence[int] = ()) -> int:
    """Ask the process that forks, and return its answer."""
    ours = _server()
    socket.send_fds(ours, [json.dumps(question).encode()], files)
    return int(ours.recv(64))


@cache
def _server() -> socket.socket:
    """Start the process that forks, once in a process of tests. It ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PROCESS_S)
    command = [sys.executable, "-m", __name__, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def stop() -> None:
        ours.close()
        process.wait(PROCESS_S)

    atexit.register(stop)
    return ours


def serve(channel: socket.socket) -> None:
    """Fork a program for each message, or wait for one that has ended, until the other side is gone."""
    for name in PROGRAMS:
        importlib.import_module(name)

    gc.collect()
    gc.freeze()
    while True:
        data, files, _, _ = socket.recv_fds(channel, 65536, 2)
        if not data:
            return
        asked = json.loads(data)
        if "wait" in asked:
            channel.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]))
            continue
        child = os.fork()
        if not child:
            channel.close()
            _become(asked, files)
            end(partial(_run, asked["words"]))
        for file in files:
            os.close(file)
        channel.send(b"%d" % child)


def _become(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])


def _run(words: Sequence[str]) -> None:
    sys.argv = list(words)
    sys.orig_argv = [sys.executable, "-m", *words]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
