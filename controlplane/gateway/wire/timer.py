"""A timer wheel: one timer of the event loop for the deadlines of all requests and connections of a worker.

A deadline of a stream is set and cancelled for each request, and hardly ever comes. The loop's own heap of timers keeps
a cancelled entry until its time; the wheel forgets it at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

STEP_S = 0.1
"""Length of a step, in seconds. Deadlines are of seconds, so a tenth more does not matter."""

log = logging.getLogger(__name__)


def _nothing() -> None:
    """Do nothing."""


class WheelTimer:
    """One entry. It is on the wheel until its time has come or it is cancelled."""

    __slots__ = ("_call", "_slot")

    def __init__(self, slot: set[WheelTimer], call: Callable[[], None]) -> None:
        self._slot: set[WheelTimer] | None = slot
        self._call = call

    def cancel(self) -> None:
        """Take it off the wheel. A second call, or one after the deadline, does nothing."""
        if self._slot is not None:
            self._slot.discard(self)
            self._slot = None
            self._call = _nothing  # what it would call holds it, often

    def fire(self) -> None:
        """Call, unless it was cancelled."""
        if self._slot is not None:
            self._slot = None
            self._call()


class TimerWheel:
    """The wheel of one event loop. It turns while it has entries."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now: Callable[[], float] = loop.time
        """Returns the time of the event loop."""
        self._loop = loop
        self._began = loop.time()
        self._step = 0
        """Number of the last step that was fired."""
        self._slots: dict[int, set[WheelTimer]] = {}
        self._turning: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of entries."""
        return sum(len(slot) for slot in self._slots.values())

    def after(self, seconds: float, call: Callable[[], None]) -> WheelTimer:
        """Call once, not before `seconds` have passed, and within two steps after them."""
        number = int((self._loop.time() - self._began + seconds) / STEP_S) + 1
        if number <= self._step:
            number = self._step + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
        timer = WheelTimer(slot, call)
        slot.add(timer)
        if self._turning is None:
            self._turning = self._loop.call_later(STEP_S, self._turn)
        return timer

    def close(self) -> None:
        """Stop. No entry fires any more."""
        if self._turning is not None:
            self._turning.cancel()
            self._turning = None
        self._slots.clear()

    def _turn(self) -> None:
        now = int((self._loop.time() - self._began) / STEP_S)
        # After a pause of the process many steps are due at once: only the slots that exist are visited.
        due = sorted(number for number in self._slots if number <= now) if now - self._step > 1 else [now]
        self._step = now
        self._turning = self._loop.call_later(STEP_S, self._turn)
        for number in due:
            for timer in tuple(self._slots.pop(number, ())):
                try:
                    timer.fire()
                except Exception:  # the boundary of a callback: one fault must not stop the deadlines of all others
                    log.exception("a deadline's callback failed")
        if not self._slots and self._turning is not None:
            self._turning.cancel()
            self._turning = None


class Deadline:
    """A deadline that moves often and hardly ever comes, such as the longest pause of a stream.

    Moving it later costs one assignment: the entry of the wheel stays where it is, and looks again when it fires.
    """

    __slots__ = ("_armed", "_call", "_timer", "_wheel", "at")

    def __init__(self, wheel: TimerWheel, call: Callable[[], None]) -> None:
        """`call` is called when the deadline has passed. The deadline is then cleared."""
        self.at = math.inf
        """Time of the loop at which `call` is due. Infinite: never."""
        self._wheel = wheel
        self._call = call
        self._timer: WheelTimer | None = None
        self._armed = math.inf
        """Time at which the entry fires."""

    def set(self, at: float, now: float) -> None:
        """Set the deadline. Both are times of the loop."""
        self.at = at
        if at < self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._wheel.after(at - now, self._fire)
            self._armed = at

    def clear(self) -> None:
        """Set no deadline."""
        self.at = math.inf

    def close(self) -> None:
        """End: nothing is called any more."""
        self.at = self._armed = math.inf
        self._call = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._armed = math.inf
        if self.at == math.inf:
            return
        now = self._wheel.now()
        if now < self.at:
            self.set(self.at, now)
            return
        self.at = math.inf
        self._call()
