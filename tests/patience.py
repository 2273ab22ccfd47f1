"""How long a test waits for what must come. A deadline is for hangs: no machine that works, however busy, meets one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

HANG_S = 60.0
"""One answer, one event, one condition to come true."""
PROCESS_S = 120.0
"""A whole process: until it is ready, until it has done its work, until it has ended."""


async def until(happened: Callable[[], object], within_s: float = HANG_S) -> None:
    """Wait until what an outside observer sees, but has no event for, comes true."""
    async with asyncio.timeout(within_s):
        while not happened():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


def wait_until(happened: Callable[[], object], within_s: float = HANG_S) -> None:
    """Wait likewise, where no event loop runs."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"{happened} did not come true within {within_s:g} s"
        time.sleep(0.1)
