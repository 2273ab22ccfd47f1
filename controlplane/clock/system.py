"""The timeline of a running control plane: the machine's wall clock, without its jumps.

Samples, alerts and messages have wall-clock times, since other systems correlate with them. But the wall clock can be
set. Code that subtracts two readings of it would then wait for an hour, or act an hour early. Therefore the timeline
runs on the monotonic clock and follows the wall clock. It follows small differences at once. It follows a step only in
`adopt`, which the control plane calls when the code that keeps times can move them along.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

STEP_S = 0.5
"""Least difference that counts as a step, in seconds. Chosen: a clock that is set by one second is off by a little less
when it is measured. ntpd steps the clock from 0.128 s on (its step threshold), at boot. Such a step is followed
silently."""

CREEP_S = 1.0
"""Sum of smaller differences within CREEP_WINDOW_S that counts as a creep, in seconds. It is an error of 280 ppm. A
sound crystal has an error of 50 ppm."""

CREEP_WINDOW_S = 3600.0
CREEP_POINTS = 60
"""Readings kept of the last CREEP_WINDOW_S."""


class ClockStep(NamedTuple):
    """One step of the wall clock."""

    by_s: float
    """Size in seconds. Positive: the clock was set forward."""
    at: float
    """Unix seconds right after the step."""
    number: int
    """Count of steps since the start of the process, this step included."""


@dataclass(frozen=True)
class ClockReport:
    """Measurements of the wall clock since the start of the process."""

    forward: int
    """Number of steps forward."""
    back: int
    """Number of steps back."""
    last: ClockStep | None
    creep_s: float
    """Sum of the differences of the last hour that were too small for a step, in seconds."""

    @property
    def creeps(self) -> bool:
        """Whether the small differences add up to more than a sound clock has."""
        return abs(self.creep_s) >= CREEP_S


class SystemClock:
    """Implements alerts.interfaces.Clock. One thread calls `measure` and `adopt`, any thread calls `now`."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`wall` and `monotonic` return seconds."""
        self._wall, self.monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._forward = self._back = 0
        self._last: ClockStep | None = None
        self._crept = 0.0
        self._points: deque[tuple[float, float]] = deque([(monotonic(), 0.0)])
        """Pairs of (monotonic seconds, sum of small differences until then)."""

    def now(self) -> float:
        """Return unix seconds. They decrease only when `measure` follows a small difference or `adopt` a step back."""
        return self.monotonic() + self._offset

    def measure(self) -> float:
        """Compare with the wall clock, and follow a small difference. Return the size of a step in seconds, else 0.

        Call this about every second: all changes between two calls count as one difference.
        """
        off = self._difference()
        if abs(off) >= STEP_S:
            return off
        self._offset += off
        self._note_creep(off)
        return 0.0

    def adopt(self) -> ClockStep | None:
        """Follow the step that was measured, and return it. Return None if the wall clock was set back again."""
        off = self.measure()
        if not off:
            return None
        self._offset += off
        return self.note(off)

    def note(self, by_s: float) -> ClockStep:
        """Count a step that the timeline already follows, and return it."""
        if by_s > 0:
            self._forward += 1
        else:
            self._back += 1
        self._last = ClockStep(by_s, self.now(), self._forward + self._back)
        return self._last

    def report(self) -> ClockReport:
        """Return the measurements so far."""
        return ClockReport(self._forward, self._back, self._last, self._crept - self._points[0][1])

    def _difference(self) -> float:
        # The wall clock is read between two readings of the monotonic clock. A thread that is delayed between the
        # readings then does not look like a step.
        before = self.monotonic()
        wall = self._wall()
        after = self.monotonic()
        off = wall - self._offset
        return 0.0 if before <= off <= after else min(off - after, off - before, key=abs)

    def _note_creep(self, off: float) -> None:
        self._crept += off
        now = self.monotonic()
        if now - self._points[-1][0] >= CREEP_WINDOW_S / CREEP_POINTS:
            self._points.append((now, self._crept))
        while len(self._points) > 1 and now - self._points[0][0] > CREEP_WINDOW_S:
            self._points.popleft()
