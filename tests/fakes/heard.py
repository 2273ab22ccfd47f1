"""What a source of addresses tells, with the next question on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

from collectors.discovery.asking import Follower
from collectors.discovery.entries import Entry
from collectors.discovery.group import Objects
from collectors.discovery.polling import Means
from collectors.errors import DiscoveryError
from tests.patience import HANG_S


class Heard:
    """Implements collectors.discovery.asking.Hears."""

    def __init__(self) -> None:
        self.lists: list[tuple[Entry, ...]] = []
        self.objects: Objects = {}
        self.error = ""
        self.slept: list[float] = []
        self._due, self._waits = asyncio.Event(), asyncio.Event()

    @property
    def addresses(self) -> list[str]:
        """The addresses of the last list."""
        return [address for entry in (self.lists[-1] if self.lists else ()) for address in entry.addresses]

    def took(self, entries: tuple[Entry, ...], same_as: Hashable = None, objects: Objects | None = None) -> None:
        self.error = ""
        self.objects = objects or {}
        self.lists.append(entries)

    def failed(self, error: DiscoveryError) -> None:
        self.error = str(error)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._due.clear()
        self._waits.set()
        await self._due.wait()

    async def answered(self) -> None:
        """Wait until the present question is answered."""
        async with asyncio.timeout(HANG_S):
            await self._waits.wait()

    async def again(self) -> None:
        """Let one more question be asked and answered."""
        self._waits.clear()
        self._due.set()
        await self.answered()


@asynccontextmanager
async def heard_of(follower_of: Callable[[Means], Follower]) -> AsyncIterator[Heard]:
    """Follow a source until the block ends. The first question has been answered."""
    heard = Heard()
    task = asyncio.ensure_future(follower_of(Means(sleep=heard.sleep, spread=lambda: 1.0))(heard))
    try:
        await heard.answered()
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
