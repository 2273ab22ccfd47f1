"""The decision when a dead worker is started again."""

from __future__ import annotations

from controlplane.gateway.backoff import Backoff

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
