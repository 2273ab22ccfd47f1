"""The timeline of a running control plane: the machine's wall clock, without its jumps.

Samples, alerts and messages lie on wall-clock time, since other systems correlate with it. The wall clock can be set,
though, and whoever subtracts two readings of it would wait for an hour or act an hour early. So the timeline runs on
the monotonic clock and follows the wall clock: small differences at once, a step only when it is told to (`adopt`), at
a moment when those who keep times can move them along.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

STEP_S = 0.5
"""A difference from here on is a step: a clock that is set by a second is off by a little less when it is looked at.
NTP itself sets the clock from 0.128 s on (ntpd's step threshold), at boot; that is followed without a word."""

CREEP_S = 1.0
"""Smaller differences that add up to this within CREEP_WINDOW_S are a creep: 280 ppm; a sound crystal errs by 50."""

CREEP_WINDOW_S = 3600.0
CREEP_POINTS = 60
"""Readings kept of that window."""


class ClockStep(NamedTuple):
    """The clock was set."""

    by_s: float
    """Forward is positive."""
    at: float
    """Unix seconds right after it."""
    number: int
    """How many there were of it, since the start of the process."""


@dataclass(frozen=True)
class ClockReport:
    """What was measured since the start of the process."""

    forward: int
    """Steps forward."""
    back: int
    last: ClockStep | None
    creep_s: float
    """Differences too small for a step, summed over the last hour."""

    @property
    def creeps(self) -> bool:
        """Whether they add up to more than a sound clock's."""
        return abs(self.creep_s) >= CREEP_S


class SystemClock:
    """Implements alerts.interfaces.Clock. `measure` and `adopt` are called by one thread, `now` by any."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`wall` and `monotonic` return seconds."""
        self._wall, self.monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._forward = self._back = 0
        self._last: ClockStep | None = None
        self._crept = 0.0
        self._points: deque[tuple[float, float]] = deque([(monotonic(), 0.0)])
        """(monotonic seconds, sum of small differences)."""

    def now(self) -> float:
        """Return unix seconds. Between two steps that were adopted they only grow."""
        return self.monotonic() + self._offset

    def measure(self) -> float:
        """Compare with the wall clock; return by how much it was set, 0 if it was not. A small difference is followed.

        To be called every second or so: what comes together between two calls counts as one difference.
        """
        off = self._difference()
        if abs(off) >= STEP_S:
            return off
        self._offset += off
        self._note_creep(off)
        return 0.0

    def adopt(self) -> ClockStep | None:
        """Follow a step that was measured; None if the wall clock is back where it was."""
        off = self.measure()
        if not off:
            return None
        self._offset += off
        return self.note(off)

    def note(self, by_s: float) -> ClockStep:
        """Count a step that the timeline follows already."""
        if by_s > 0:
            self._forward += 1
        else:
            self._back += 1
        self._last = ClockStep(by_s, self.now(), self._forward + self._back)
        return self._last

    def report(self) -> ClockReport:
        """Return what was measured."""
        return ClockReport(self._forward, self._back, self._last, self._crept - self._points[0][1])

    def _difference(self) -> float:
        # Between two readings of the monotonic clock, so that a thread that is held up in between is not a step.
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
