"""Monotonic seconds that pass only while every task of a test waits for them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class TurningClock:
    """A clock for code that takes `monotonic` and `sleep`. What waits for a server does not let time pass."""

    def __init__(self) -> None:
        self.at = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Wait until the time of the clock has passed. Only tasks of `run` may call it."""
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.at + seconds, next(self._order), woken))
        self._changed.set()
        await woken.wait()

    async def run(self, *works: Coroutine[Any, Any, T]) -> list[T | BaseException]:
        """Run works side by side until all have ended. Return what they returned or raised."""
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(lambda _: self._changed.set())
        while running := [task for task in tasks if not task.done()]:
            if len(self._sleepers) == len(running):
                self.at, _, woken = heapq.heappop(self._sleepers)
                woken.set()
            else:
                await self._changed.wait()
                self._changed.clear()
        return await asyncio.gather(*tasks, return_exceptions=True)
