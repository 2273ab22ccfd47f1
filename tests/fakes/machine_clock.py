"""A machine with a wall clock that a test can set, and a monotonic clock that it cannot set."""

from __future__ import annotations

from controlplane.clock.system import SystemClock


class Machine:
    """An alerts.interfaces.Clock. Its timeline follows a step only when a test calls for it."""

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
        """Set the wall clock. The timeline does not follow yet."""
        self.offset += by_s

    def restart(self) -> None:
        """Read the clocks again, as a new process does."""
        self.clock = SystemClock(self.wall, self.monotonic)
