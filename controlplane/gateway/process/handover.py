"""The upgrade without a pause: a new gateway takes the listening sockets over from the one that runs.

Both meet at a Unix socket in the data folder. Only processes of the same user are answered. One successor at a time
gets an offer, because two would use the same half of the shared memory; a silent one loses it after 10 s.

    new to old    hello {format, version}
    old to new    an offer, with the open files: lock, shared memory, admin socket, listening sockets
    new to old    starting      each second, until its workers serve
    new to old    ready         its workers serve; until here the old one serves on, whatever becomes of the new one
    old to new    draining      it has let go of the folder
    (end)         the old one has ended
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from controlplane import __version__
from controlplane.gateway.errors import GatewayError

log = logging.getLogger(__name__)

SOCKET = "handover.sock"
FORMAT = 1
MAX_FILES = 250
"""Most open files of one message. The kernel passes 253 (SCM_MAX_FD)."""
_MAX_LINE = 64 * 2**10
_LINE_S = 10.0
"""Seconds for one line of the other side. Chosen: both write at once, and a successor each second."""
_TELL_S = 1.0
"""Interval, in seconds, of the lines of a successor that starts."""
_MOST = 8
"""Most connections at once. Chosen: more than people and programs that upgrade one gateway."""
_ACCEPT_S = 1.0
"""Seconds until the next attempt to accept a connection, after one that failed for want of files or memory."""
_READY_S = 120.0
"""Seconds until a successor is ready. It gives up by itself after half of them."""
_CREDENTIALS = struct.Struct("iII")
"""struct ucred: process, user, group (unix(7))."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The things that a running gateway hands over."""

    version: str
    """Version of the program. Only the same version uses the shared memory on."""
    sizes: dict[str, int]
    """Areas of the shared memory."""
    half: int
    """Half of the columns that its workers use, 0 or 1."""
    listen: str
    admin: str
    """Addresses as they were given, so that a changed one is noticed."""
    sockets: int


class Predecessor:
    """A running gateway, as its successor sees it. Made by `meet`."""

    def __init__(self, conn: socket.socket, offer: Offer, files: list[int]) -> None:
        self._conn, self.offer = conn, offer
        self._telling: asyncio.Task[None] | None = None
        self.pid = _peer(conn)[0]
        """Process id."""
        self.remains = True
        """Whether it has not ended."""
        lock, memory, admin, *listening = files
        self.lock_fd, self.memory_fd = lock, memory
        self.admin = socket.socket(fileno=admin)
        self.listening = [socket.socket(fileno=fd) for fd in listening]
        for each in (self.admin, *self.listening):
            each.setblocking(False)

    def starts(self) -> None:
        """Tell it from now on that this gateway starts, so that it waits."""
        self._conn.setblocking(False)
        self._telling = asyncio.get_running_loop().create_task(self._tell(), name="telling the gateway before")

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # it has ended: relieve() says so
            while True:
                await loop.sock_sendall(self._conn, b'{"starting":true}\n')
                await asyncio.sleep(_TELL_S)

    async def relieve(self) -> None:
        """Tell it that this gateway serves, and wait until it has let go. Raises GatewayError when it has ended."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait((self._telling,))
        await asyncio.to_thread(self._say_ready)

    async def ended(self) -> None:
        """Wait until it has ended."""
        self._conn.setblocking(False)
        with contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(self._conn, 4096):
                pass
        self.remains = False

    def close(self) -> None:
        """Leave it. Unless it was relieved, it serves on."""
        if self._telling is not None:
            self._telling.cancel()
        self._conn.close()

    def _say_ready(self) -> None:
        self._conn.settimeout(_LINE_S)
        try:
            self._conn.sendall(b'{"ready":true}\n')
            said = _line(self._conn)
        except OSError as error:
            raise GatewayError(f"the gateway before this one (process {self.pid}) is gone: {error}") from error
        if not said.get("draining"):
            raise GatewayError(f"the gateway before this one (process {self.pid}) does not let go: {said}")


def meet(folder: Path) -> Predecessor | None:
    """Ask the gateway that runs on a data folder to hand over. None: nobody answers there. Blocking.

    Raises GatewayError when it refuses, with its reason.
    """
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    conn.settimeout(_LINE_S)
    try:
        with _near(folder) as path:
            conn.connect(path)
        if not _is_ours(conn):
            raise GatewayError(f"{folder / SOCKET} belongs to another user; choose another --data-dir")
        conn.sendall(orjson.dumps({"format": FORMAT, "version": __version__}) + b"\n")
        data, files, _, _ = socket.recv_fds(conn, _MAX_LINE, MAX_FILES)
        said = orjson.loads(data)
    except (FileNotFoundError, ConnectionRefusedError):
        conn.close()
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        conn.close()
        raise GatewayError(f"the gateway that uses {folder} does not hand over: {error}") from error
    except GatewayError:
        conn.close()
        raise
    if "refused" in said:
        conn.close()
        raise GatewayError(f"the gateway that uses {folder} does not hand over: {said['refused']}")
    for fd in files:
        os.set_inheritable(fd, False)
    return Predecessor(conn, Offer(**said), files)


class Successors:
    """The end of the running gateway: answers a successor, and lets it relieve this one."""

    def __init__(
        self,
        folder: Path,
        offer: Callable[[], tuple[Offer, list[int]]],
        relieved: Callable[[int], Awaitable[None]],
    ) -> None:
        """`offer` raises GatewayError to refuse. `relieved` gets the successor's pid, and lets go of the folder."""
        self._folder, self._offer, self._relieved = folder, offer, relieved
        self._listening: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._offered_to = 0
        """Process that has an offer and is not ready. 0: none."""
        self._inode = 0
        self._successor: socket.socket | None = None
        """Connection to the gateway that relieved this one. Its end says that this process has ended."""

    def open(self) -> None:
        """Listen in the data folder. The lock of the folder must be held. Raises GatewayError."""
        path = self._folder / SOCKET
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            with _near(self._folder) as near:
                listening.bind(near)
            path.chmod(0o600)
            self._inode = path.stat().st_ino
            listening.listen(_MOST)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            raise GatewayError(f"{path}: {error.strerror}; choose another --data-dir") from error
        self._listening = listening
        self._task = asyncio.get_running_loop().create_task(self._serve(listening), name="successors")

    def gone(self) -> None:
        """Tell the successor that this gateway has ended. The end of the process does so too."""
        if self._successor is not None:
            self._successor.close()

    def close(self) -> None:
        """Answer nobody any more. The file is left if a successor has put its own there."""
        if self._listening is None:
            return
        self._listening = None
        for task in (self._task, *self._answers):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        path = self._folder / SOCKET
        with contextlib.suppress(OSError):
            if path.stat().st_ino == self._inode:
                path.unlink()

    async def _serve(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while self._listening is not None:
                try:
                    conn, _ = await loop.sock_accept(listening)
                except OSError as error:
                    log.warning("no successor can connect: %s", error)
                    await asyncio.sleep(_ACCEPT_S)
                    continue
                if len(self._answers) >= _MOST or not _is_ours(conn):
                    conn.close()
                    continue
                conn.setblocking(False)
                # A task for each: one that says nothing must not keep the others waiting.
                task = loop.create_task(self._answer(conn), name="successor")
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)

    async def _answer(self, conn: socket.socket) -> None:
        """Answer one process, until it has relieved this gateway or failed."""
        try:
            lines, pid = _Lines(conn), _peer(conn)[0]
            if await self._offers(conn, pid, await lines.next()):
                await self._wait_for(conn, pid, lines)
        except (OSError, TimeoutError, orjson.JSONDecodeError, GatewayError) as error:
            log.info("a process at %s is no gateway: %s", self._folder / SOCKET, error)
        finally:
            if conn is not self._successor:
                conn.close()

    async def _offers(self, conn: socket.socket, pid: int, hello: dict[str, Any]) -> bool:
        """Send an offer to a process, or the reason why it gets none."""
        try:
            if hello.get("format") != FORMAT:
                raise GatewayError("it is of another release; stop it first")
            if self._offered_to:
                raise GatewayError(f"process {self._offered_to} is taking over already; try again later")
            offer, files = self._offer()
        except GatewayError as error:
            await asyncio.get_running_loop().sock_sendall(conn, orjson.dumps({"refused": str(error)}) + b"\n")
            return False
        self._offered_to = pid
        # One small message into an empty buffer: it does not block.
        socket.send_fds(conn, [orjson.dumps(asdict(offer)) + b"\n"], files)
        return True

    async def _wait_for(self, conn: socket.socket, pid: int, lines: _Lines) -> None:
        """Wait until a successor serves, and let it relieve this gateway."""
        try:
            await lines.ready()
        except (OSError, TimeoutError, orjson.JSONDecodeError, GatewayError) as error:
            log.warning(
                "the gateway that was to follow this one (process %d) has failed: %s; this one serves on", pid, error
            )
            return
        finally:
            self._offered_to = 0
        self._successor = conn
        await self._relieved(pid)
        await asyncio.get_running_loop().sock_sendall(conn, b'{"draining":true}\n')


@contextlib.contextmanager
def _near(folder: Path) -> Any:
    """Yield a short path of the socket: the kernel accepts 107 bytes, and a data folder may be deeper."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)


def _peer(conn: socket.socket) -> tuple[int, int]:
    """Return the process id and the user of the other side."""
    pid, user, _ = _CREDENTIALS.unpack(conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user


def _is_ours(conn: socket.socket) -> bool:
    return _peer(conn)[1] in (os.geteuid(), 0)


def _line(conn: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = conn.recv(4096)
        if not more or len(data) > _MAX_LINE:
            raise ConnectionResetError("it closed the connection")
        data += more
    return _object(data)


class _Lines:
    """Lines of the other side, from the event loop."""

    def __init__(self, conn: socket.socket) -> None:
        self._conn, self._data = conn, b""

    async def next(self) -> dict[str, Any]:
        """Return the next line. Raises ConnectionResetError at the end, TimeoutError after a silence of _LINE_S."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._data:
            try:
                more = await asyncio.wait_for(loop.sock_recv(self._conn, 4096), _LINE_S)
            except TimeoutError:
                raise TimeoutError(f"it was silent for {_LINE_S:g} s") from None
            if not more or len(self._data) > _MAX_LINE:
                raise ConnectionResetError("it closed the connection")
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        return _object(line)

    async def ready(self) -> None:
        """Wait until a successor is ready. Raises TimeoutError after _READY_S, and as `next`."""
        try:
            async with asyncio.timeout(_READY_S):
                while not (await self.next()).get("ready"):
                    pass
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"it was not ready within {_READY_S:g} s") from None


def _object(data: bytes) -> dict[str, Any]:
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise GatewayError("the other side does not speak this protocol")
    return found
