"""A lock that many share and one takes alone: whoever works with times shares it, whoever sets them takes it alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Steady:
    """`async with steady.shared()` beside others; `async with steady` alone. Who waits to be alone goes first."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold it beside others."""
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
        """Wait until nobody holds it, and let nobody in."""
        await self._door.acquire()
        try:
            await self._empty.wait()
        except BaseException:  # cancelled: the door must not stay shut
            self._door.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Let others in again."""
        self._door.release()
