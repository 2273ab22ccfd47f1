"""A machine with a wall clock that can be set, and a monotonic one that cannot."""

from __future__ import annotations

from controlplane.clock.system import SystemClock


class Machine:
    """Implements alerts.interfaces.Clock by a timeline that follows steps when it is told to."""

    def __init__(self, at: float = 1_000_050.0, elapsed: float = 50.0) -> None:
        self.elapsed, self.offset = elapsed, at - elapsed
        self.clock = SystemClock(self.wall, self.monotonic)

    def wall(self) -> float:
        return self.elapsed + self.offset

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> float:
        return self.clock.now()

    def set(self, by_s: float) -> None:
        """Set the wall clock; the timeline does not know yet."""
        self.offset += by_s

    def restart(self) -> None:
        """A new process reads the clocks anew."""
        self.clock = SystemClock(self.wall, self.monotonic)
