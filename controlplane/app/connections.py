"""Closes connections without a request. The HTTP server has no deadline for a request's head and would keep them.

Some thousand of them would use up the file descriptors that serving, scraping and the database need.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable
from typing import Any

SWEEP_S = 5.0
IDLE_S = 20.0
"""Longest time without a complete request's head, in seconds. After an answer the server closes after 5 s by itself."""
MAX_FILES = 65_536
"""Limit of open files that is requested. The usual soft limit of 1024 exists only for programs that use select()."""


class Sweeper:
    """Closes connections that have sent no complete request for IDLE_S."""

    def __init__(self) -> None:
        self._since: dict[tuple[Any, Any], float] = {}

    def sweep(self, connections: Iterable[Any], now: float) -> int:
        """Close late connections, and return their number. `now` is in seconds of any clock.

        A connection has `transport`, and `cycle`: its current or last request, None before the first.
        """
        idle = [(c, getattr(c, "cycle", None)) for c in connections if getattr(c, "transport", None) is not None]
        idle = [(c, cycle) for c, cycle in idle if cycle is None or cycle.response_complete]
        self._since = {key: self._since.get(key, now) for key in idle}
        late = [connection for connection, cycle in idle if now - self._since[connection, cycle] >= IDLE_S]
        for connection in late:
            connection.transport.close()
        return len(late)

    async def run(self, connections: Iterable[Any]) -> None:
        """Sweep until cancelled. `connections` is the server's own collection, which changes."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(list(connections), loop.time())


def allow_many_files() -> int:
    """Raise this process's limit of open files to MAX_FILES or the hard limit, and return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_FILES if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
