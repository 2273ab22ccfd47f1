"""Deadlines of tests. A deadline only ends hangs: even a very busy machine does not reach it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

HANG_S = 60.0
"""Longest wait, in seconds, for one answer, one event or one condition."""
PROCESS_S = 120.0
"""Longest wait, in seconds, for a process to be ready, to finish its work or to end."""


async def until(happened: Callable[[], object], within_s: float = HANG_S) -> None:
    """Wait until a condition without an event is true. Raises TimeoutError after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while not happened():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


def wait_until(happened: Callable[[], object], within_s: float = HANG_S) -> None:
    """Wait like `until`, without an event loop. Raises AssertionError after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"{happened} did not come true within {within_s:g} s"
        time.sleep(0.1)
