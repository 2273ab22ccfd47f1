"""A second deadline, for code that has its own and says more when that one passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def overrun(timeout_s: float, grace_s: float) -> AsyncIterator[None]:
    """Cancel the block `grace_s` seconds after its own deadline, which is `timeout_s` seconds from now.

    The grace is counted from the moment at which the event loop could run the block's own deadline. If both were
    counted from now, a loop that was held up for longer than the grace would meet them in one turn; the outer one
    wins then, and what the block says of its deadline is lost.

    Raises TimeoutError when the grace is over.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as guard:
        own = loop.call_later(timeout_s, lambda: guard.reschedule(loop.time() + grace_s))
        try:
            yield
        finally:
            own.cancel()
