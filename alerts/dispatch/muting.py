"""Whether an alert is held back: the stage for silences, inhibition and time intervals. Nothing of these exists yet."""

from __future__ import annotations

import math
from typing import Protocol

from alerts.interfaces import AlertInstance


class Muting(Protocol):
    """Holds alerts back.

    A muted alert goes on firing and is told to nobody. That is a state of its own: nobody is told either that it is
    over, and once it is no longer muted it is told of if the last message did not have it.
    """

    def reason(self, instance: AlertInstance, at: float) -> str:
        """Return why a firing alert is held back at unix second `at`; "" where it is not."""
        ...

    def changes_at(self, at: float) -> float:
        """Return the next unix second after `at` at which another answer is possible though no alert changes."""
        ...


class NobodyMuted:
    """Implements Muting: every alert is told of."""

    def reason(self, instance: AlertInstance, at: float) -> str:
        """Return that nothing holds it back."""
        return ""

    def changes_at(self, at: float) -> float:
        """Return that this stays so."""
        return math.inf
