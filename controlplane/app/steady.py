"""A readers-writer lock. Users of stored times share it; a step of the clock, which moves them, holds it alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Steady:
    """`async with steady.shared()` holds it beside others, `async with steady` alone, with priority."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the lock beside other sharers."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def __aenter__(self) -> None:
        """Wait until nobody shares the lock. New sharers wait meanwhile."""
        await self._door.acquire()
        try:
            await self._empty.wait()
        except BaseException:  # cancelled: the lock must not stay closed
            self._door.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Release the lock."""
        self._door.release()
