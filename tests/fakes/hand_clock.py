"""A clock for a timer wheel that a test turns by hand: deadlines of minutes come at once, and none comes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from controlplane.gateway.wire.timer import STEP_S, TimerWheel


class _Handle:
    def __init__(self, clock: HandClock) -> None:
        self._clock = clock

    def cancel(self) -> None:
        self._clock.next = None


class HandClock:
    """Stands in for the event loop of a wheel."""

    def __init__(self) -> None:
        self._steps = 10_000
        self.next: Callable[[], None] | None = None

    def time(self) -> float:
        return self._steps * STEP_S

    def call_later(self, delay: float, call: Callable[[], None]) -> _Handle:
        self.next = call
        return _Handle(self)

    def advance(self, seconds: float) -> None:
        """Let time pass in steps of the wheel, and two more: an entry fires at most two steps after its time."""
        for _ in range(round(seconds / STEP_S) + 2):
            self._pass(1)

    def jump(self, seconds: float) -> None:
        """Let time pass in one step, as for a process that was stopped."""
        self._pass(round(seconds / STEP_S))

    def skip(self, seconds: float) -> None:
        """Let time pass while nothing fires: a process that was stopped first reads its sockets when it goes on."""
        self._steps += round(seconds / STEP_S)

    def _pass(self, steps: int) -> None:
        self._steps += steps
        call, self.next = self.next, None
        if call is not None:
            call()


def wheel_of(clock: HandClock) -> TimerWheel:
    """Return a wheel that turns by the clock."""
    return TimerWheel(cast(asyncio.AbstractEventLoop, clock))
