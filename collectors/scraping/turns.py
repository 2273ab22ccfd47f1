"""Turns of the scrapes whose answers arrive together."""

from __future__ import annotations

import asyncio


class Turns:
    """Lets the results of scrapes be taken one at a time, with a look at the sockets and timers between two.

    A new page costs some milliseconds. Hundreds that arrive together, as at the start of a fleet, would be taken in one
    iteration of the event loop, and everything else would wait for their sum. For use in one event loop.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        """Wait until no other result was taken in this iteration of the event loop, in the order of the calls."""
        await self._lock.acquire()
        # The next one is woken in the next iteration, and runs in the one after it.
        asyncio.get_running_loop().call_soon(self._lock.release)
