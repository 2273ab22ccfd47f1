"""When something that is done now and then is due."""

from __future__ import annotations


class Every:
    """Due at once, and again each time `interval_s` has passed since it was done.

    Times are seconds of one clock that runs evenly: the monotonic one, or the control plane's timeline. A clock that
    was set back puts nothing off: what was done in its future is due. What must fall on the same seconds of the day for
    everybody is not for this: rule groups keep their phase, and calendar jobs their hour.
    """

    __slots__ = ("_done_at", "interval_s")

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._done_at: float | None = None

    def due(self, now: float) -> bool:
        """Tell whether the interval has passed."""
        return self._done_at is None or not 0 <= now - self._done_at < self.interval_s

    def done(self, now: float) -> None:
        """Note that it was done, or begun, at `now`."""
        self._done_at = now

    def take(self, now: float) -> bool:
        """Tell whether it is due; if so, it counts as done."""
        due = self.due(now)
        if due:
            self._done_at = now
        return due
