"""Intervals: decide when a repeated action is due."""

from __future__ import annotations


class Every:
    """A repeated action. It is due at once, and again when `interval_s` seconds have passed since it was done.

    Times are seconds of one clock that runs evenly: the monotonic clock, or the control plane's timeline. A clock that
    was set back delays nothing: an action that was done at a later time than now is due. Do not use this class for
    actions at fixed times of the day: rule groups keep their phase, and calendar jobs keep their hour.
    """

    __slots__ = ("_done_at", "interval_s")

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._done_at: float | None = None

    def due(self, now: float) -> bool:
        """Return whether the action is due."""
        return self._done_at is None or not 0 <= now - self._done_at < self.interval_s

    def done(self, now: float) -> None:
        """Note that the action was done, or begun, at `now`."""
        self._done_at = now

    def take(self, now: float) -> bool:
        """Return whether the action is due. If it is, note that it was done at `now`."""
        due = self.due(now)
        if due:
            self._done_at = now
        return due
