"""Waits that grow: between tries to reach a server, and between starts of a process that dies at once."""

from __future__ import annotations

from collections.abc import Callable
from random import random


class Backoff:
    """A wait that doubles up to a limit. `jitter` returns 0 to 1, so that many gateways do not try at the same time."""

    def __init__(self, first_s: float, most_s: float, jitter: Callable[[], float] = random) -> None:
        self._first_s, self._most_s, self._jitter = first_s, most_s, jitter
        self._next_s = first_s

    def failed(self) -> float:
        """Return the seconds to wait after a failure: between half of the step and the whole."""
        step_s = self._next_s
        self._next_s = min(2 * step_s, self._most_s)
        return step_s * (0.5 + 0.5 * self._jitter())

    def worked(self) -> None:
        """Begin again with the first wait."""
        self._next_s = self._first_s
