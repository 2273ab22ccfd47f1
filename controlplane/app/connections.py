"""Connections that ask nothing: the HTTP server has no deadline for a request's head, so they would be held forever.

A few thousand of them, and no file descriptor is left to serve, to scrape or to open the database with.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable
from typing import Any

SWEEP_S = 5.0
IDLE_S = 20.0
"""How long a connection may be open without a whole request's head; the server ends idle ones after 5 s by itself."""
MAX_FILES = 65_536
"""What Go programs and systemd ask for: the usual soft limit of 1024 is for programs that use select()."""


class Sweeper:
    """Closes connections between requests that have sent no whole request for `IDLE_S`."""

    def __init__(self) -> None:
        self._since: dict[tuple[Any, Any], float] = {}

    def sweep(self, connections: Iterable[Any], now: float) -> int:
        """Look at the server's connections; return how many were closed. `now` is any clock's seconds.

        A connection has the server's `cycle`, its present or last request (None before the first), and `transport`.
        """
        idle = [(c, getattr(c, "cycle", None)) for c in connections if getattr(c, "transport", None) is not None]
        idle = [(c, cycle) for c, cycle in idle if cycle is None or cycle.response_complete]
        self._since = {key: self._since.get(key, now) for key in idle}
        late = [connection for connection, cycle in idle if now - self._since[connection, cycle] >= IDLE_S]
        for connection in late:
            connection.transport.close()
        return len(late)

    async def run(self, connections: Iterable[Any]) -> None:
        """Sweep until cancelled. `connections` is the server's own collection, looked at anew each time."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(list(connections), loop.time())


def allow_many_files() -> int:
    """Raise this process's limit of open files towards what its user may have; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
