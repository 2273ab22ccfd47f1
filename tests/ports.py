"""Ports of loopback for servers that are started later, or again and again at one place.

A port that the kernel chooses is free only as long as it is held: another test, or any connection that a client opens,
may get it before the server is there. These ports are outside the kernel's range, and each process of the tests has
some of its own.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path

FIRST, BLOCK, BLOCKS = 10_200, 200, 109
"""First port, ports of one process, and number of such blocks: 10200 to 31999. Linux gives clients 32768 and above.

Browsers refuse some ports, of which 10080 is the highest (https://fetch.spec.whatwg.org/#port-blocking).
"""


class Ports:
    """Hands out the ports of one block that no other process has. The block is freed with the process."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds a file for each block, which its process locks. Raises OSError where all have a process."""
        folder.mkdir(mode=0o777, parents=True, exist_ok=True)
        for block in range(BLOCKS):
            self._lock = os.open(folder / str(block), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                continue
            first = FIRST + block * BLOCK
            self._turns = itertools.cycle(range(first, first + BLOCK))
            return
        raise OSError(f"{BLOCKS} processes have ports of {folder}")

    def next(self) -> int:
        """Return a port that nobody listens on. It comes again after all others. Raises OSError where none is free."""
        for port in itertools.islice(self._turns, BLOCK):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise OSError(f"no port of {BLOCK} is free")


_own: Ports | None = None


def free_port() -> int:
    """Return a port of loopback that is free, and that no other process of the tests takes."""
    global _own
    if _own is None:
        _own = Ports(Path(tempfile.gettempdir()) / f"controlplane-tests-ports-{os.getuid()}")
    return _own.next()


def free_address() -> str:
    """Return 127.0.0.1 with such a port."""
    return f"127.0.0.1:{free_port()}"
