"""Answers of a cloud beside its metrics: read in a task of their own, so that the metrics do not need them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from collectors.clouds.waiting import RETRY_S, Limited
from collectors.errors import ScrapeError

T = TypeVar("T")


class Extra(Generic[T]):
    """Costs or limits of an account. `clock` is monotonic, in seconds. Never fails: what cannot be read is left out."""

    def __init__(
        self, name: str, asks: Callable[[], Coroutine[Any, Any, T]], nothing: T, clock: Callable[[], float]
    ) -> None:
        """`name` is in the plural, for the remark. `asks` returns a value or raises ScrapeError."""
        self._name, self._asks, self._nothing, self._clock = name, asks, nothing, clock
        self._value, self._known = nothing, False
        self._next_at = float("-inf")
        self._task: asyncio.Task[T] | None = None
        self.remark = ""
        """Cause for which the value is left out; "": it is not."""

    def start(self) -> None:
        """Ask in a task, unless one still does or the last failure is too recent."""
        if self._task is None and self._clock() >= self._next_at:
            self._task = asyncio.create_task(self._asks())

    async def value(self, wait_s: float) -> T:
        """Return the value, or the one before while the task goes on after `wait_s` seconds; nothing if it failed."""
        if self._task is None:
            return self._value
        done, _ = await asyncio.wait({self._task}, timeout=wait_s)
        if not done:
            if not self._known:
                self.remark = f"the {self._name} are left out: the cloud has not answered yet, and is waited for"
            return self._value
        finished, self._task = self._task, None
        try:
            self._value, self._known, self.remark = finished.result(), True, ""
        except ScrapeError as error:
            self._value, self._known = self._nothing, False
            self._next_at = self._clock() + (error.wait_s if isinstance(error, Limited) else RETRY_S)
            self.remark = f"the {self._name} are left out: {error}"
        return self._value

    async def close(self) -> None:
        """End the task."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError, ScrapeError):
                await self._task
            self._task = None
