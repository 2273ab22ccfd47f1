"""One worker process, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.process.channel_log import log_for
from controlplane.gateway.process.control import Channel, Frame

log = logging.getLogger(__name__)

SILENT_TICKS = 120
"""Ticks of the supervisor, four a second, without a message after which a worker is killed: its event loop hangs. Ticks
and not seconds, so that nobody is killed on a machine that was paused."""


class Ended(NamedTuple):
    """A worker's account of its drain."""

    finished: int = 0
    cut: int = 0
    tokens_cut: int = 0


class Child:
    """A worker: its process, its channel, and what it said last."""

    def __init__(self, number: int, column: int, news: Callable[[], None], ended: Callable[[Child], None]) -> None:
        """`news` is called when it applies a state or accepts connections, `ended` once when the process has ended."""
        self.number, self.column = number, column
        self._on_ended, self._on_news = ended, news
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._channel = Channel(self._take, self._lost)
        self._channel_is_open = False
        self.began = time.monotonic()
        self.started = asyncio.Event()
        self.revision = ""
        """Revision that it applies."""
        self.refused = ("", "")
        """Revision that it refused last, and its reason."""
        self.status: dict[str, Any] = {}
        self.account = Ended()
        self.exit_status: int | None = None
        self.serves: frozenset[int] = frozenset()
        """Sockets that it is to accept connections on."""
        self.accepts: frozenset[int] = frozenset()
        """Sockets that it accepts connections on, as it says."""
        self.silent = 0
        self._news = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.exit_status is None or self._channel_is_open

    async def start(self, begin: dict[str, Any], inherited: Sequence[int]) -> None:
        """Start the process with open files. Raises GatewayError when it cannot be started."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "controlplane.gateway.process.worker", str(theirs.fileno())]
            files = (*inherited, theirs.fileno())
            try:
                # Not asyncio's subprocess: with a process descriptor, no thread and no signal handler waits for it.
                self._process = _spawn(command, files)
            except OSError as error:
                ours.close()
                raise GatewayError(f"worker {self.number} cannot be started: {error.strerror}") from error
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._exited)
        ours.setblocking(False)
        await loop.create_connection(lambda: self._channel, sock=ours)
        self._channel_is_open = True
        self._channel.send(begin)

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send it a message."""
        self._channel.send(head, body)

    def serve(self, sockets: frozenset[int]) -> None:
        """Let it accept connections on these sockets, and on no others."""
        if sockets != self.serves:
            self.serves = sockets
            self.send({"type": "serve", "sockets": sorted(sockets)})

    async def applies(self, revision: str) -> str:
        """Wait until it applies a revision or says no, and return its reason, or "". A dead worker says nothing."""
        while self.alive and revision not in (self.revision, self.refused[0]):
            self._news.clear()
            await self._news.wait()
        return self.refused[1] if self.refused[0] == revision else ""

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self.alive:
            self._process.kill()

    def end_of(self) -> str:
        """Return how the process ended, in words."""
        status = self.exit_status
        if status is None:
            return "still runs"
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def tick(self) -> None:
        """Count a tick. A worker that was silent for too many of them is killed."""
        self.silent += 1
        if self.silent == SILENT_TICKS:
            log.error("worker %d has said nothing for %d s and is killed", self.number, SILENT_TICKS // 4)
            self.kill()

    def _take(self, frame: Frame) -> None:
        self.silent = 0
        head = frame.head
        match head.get("type"):
            case "started":
                self.started.set()
            case "applied":
                self.revision, self.refused = head["revision"], ("", "")
                self._on_news()
            case "serving":
                self.accepts = frozenset(head["sockets"])
                self._on_news()
            case "refused":
                self.refused = (head["revision"], head["why"])
            case "status":
                self.status = head
            case "ended":
                self.account = Ended(head["finished"], head["cut"], head["tokens_cut"])
            case "log":
                log_for(self.number, head)
        self._news.set()

    def _exited(self) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exit_status = self._process.wait()
        self._finish()

    def _lost(self) -> None:
        self._channel_is_open = False
        self._finish()

    def _finish(self) -> None:
        """Tell of the end once, after the last words in the channel: the account of a drain, records of the log."""
        if self.exit_status is not None and not self._channel_is_open:
            self.started.set()
            self._news.set()
            self._on_ended(self)


def _spawn(command: list[str], files: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=files)
