"""The lag of an event loop: how late its timers are. A late timer is what every open stream feels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.1
"""Seconds between two measurements: ten timers a second cost some 50 µs."""


class LoopLag:
    """Measures the lateness of a timer of the running loop until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, observe: Callable[[float], None]) -> None:
        self._loop, self._observe = loop, observe
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._loop.time() + EVERY_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def close(self) -> None:
        """End the measurement."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        # A loop's clock may be a little ahead of the timer: such a timer is not late.
        self._observe(max(0.0, self._loop.time() - self._due))
        self.start()
