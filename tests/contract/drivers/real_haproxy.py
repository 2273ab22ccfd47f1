"""A real HAProxy in master-worker mode, with a backend `chat` of a version's servers."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.patience import PROCESS_S
from tests.ports import free_address


class RealHaproxy:
    """One HAProxy. Its worker can be killed, and it can be reloaded and restarted."""

    def __init__(self, folder: Path, servers: Mapping[str, str], balance: str = "roundrobin") -> None:
        """`servers` maps a server's name to its address."""
        self.folder, self.socket, self.config = folder, folder / "h.sock", folder / "haproxy.cfg"
        self.address = free_address()
        lines = [
            f"  server {name} {address} weight {100 if number == 0 else 0} # of {name}"
            for number, (name, address) in enumerate(servers.items())
        ]
        self.config.write_text(_CONFIG.format(socket=self.socket, address=self.address, balance=balance))
        with self.config.open("a") as file:
            file.write("\n".join([*lines, ""]))

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://{self.address}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "haproxy.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["haproxy", "-W", "-db", "-f", self.config], stdout=log, stderr=log, cwd=self.folder
            )
        self._until(lambda: _LOADED in self._log() and self._listens() and self.worker() > 0)

    def stop(self) -> None:
        """End the master and its workers."""
        deadline = time.monotonic() + PROCESS_S
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # again and again: a master that reloads loses signals
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            assert time.monotonic() < deadline, self._log()
        self.socket.unlink(missing_ok=True)

    def reload(self) -> None:
        """Let the master start a new worker from the file, and wait for it."""
        before, loaded = self.worker(), self._log().count(_LOADED)

        def reloaded() -> bool:
            if self._log().count(_LOADED) == loaded:  # again and again: a master that is starting loses signals
                self.process.send_signal(signal.SIGUSR2)
                time.sleep(1.0)
            return self._log().count(_LOADED) > loaded and self.worker() not in (0, before)

        self._until(reloaded)

    def worker(self) -> int:
        """Return the process id of the worker that answers the socket, or 0."""
        with contextlib.suppress(OSError):
            found = self.command("show info").partition("\nPid: ")[2].split()
            return int(found[0]) if found else 0
        return 0

    def command(self, command: str) -> str:
        """Return the answer of the runtime API."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            host, port = self.address.split(":")
            socket.create_connection((host, int(port))).close()
            return True
        return False

    def _log(self) -> str:
        return (self.folder / "haproxy.log").read_text()

    def _until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PROCESS_S
        while not happened():
            assert self.process.poll() is None and time.monotonic() < deadline, self._log()
            time.sleep(0.02)


@contextlib.contextmanager
def haproxy(folder: Path, servers: Mapping[str, str], balance: str = "roundrobin") -> Iterator[RealHaproxy]:
    """Run an HAProxy until the block ends."""
    made = RealHaproxy(folder, servers, balance)
    made.start()
    try:
        yield made
    finally:
        made.stop()


_LOADED = "Loading success"
_CONFIG = """\
global
  stats socket unix@{socket} mode 600 level admin
  maxconn 200
  nbthread 1
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend llm
  bind {address}
  default_backend chat
backend chat
  balance {balance}
"""
