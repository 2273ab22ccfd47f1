"""Waits that grow: between tries to reach a control plane, and between starts of a worker that dies at once."""

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


SHORT_LIFE_S = 5.0
"""A worker that ends earlier is said to have died at once. Chosen: it starts in well under a second."""


class Restarts:
    """Decides when a dead worker is started again."""

    def __init__(self) -> None:
        self._backoff = Backoff(0.25, 30.0, lambda: 1.0)
        self.total = 0
        self.in_a_row = 0
        """Deaths at once, one after another."""

    def died(self, lived_s: float) -> float:
        """Return the seconds until the next start: none after a long life."""
        self.total += 1
        if lived_s >= SHORT_LIFE_S:
            self._backoff.worked()
            self.in_a_row = 0
            return 0.0
        self.in_a_row += 1
        return self._backoff.failed()
