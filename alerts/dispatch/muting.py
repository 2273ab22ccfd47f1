"""The mute stage: decides whether a silence, an inhibition or a time interval holds an alert back. None exists yet."""

from __future__ import annotations

import math
from typing import Protocol

from alerts.interfaces import AlertInstance


class Muting(Protocol):
    """Decides which alerts are muted.

    A muted alert keeps firing but is in no message, neither as firing nor as resolved. When it is no longer muted, it
    is sent unless the last message had it.
    """

    def reason(self, instance: AlertInstance, at: float) -> str:
        """Return why a firing alert is muted at unix second `at`; "" when it is not muted."""
        ...

    def changes_at(self, at: float) -> float:
        """Return the next unix second after `at` at which `reason` may change although no alert changes."""
        ...


class NobodyMuted:
    """Implements Muting: no alert is muted."""

    def reason(self, instance: AlertInstance, at: float) -> str:
        """Return "": no alert is muted."""
        return ""

    def changes_at(self, at: float) -> float:
        """Return infinity: the answer never changes."""
        return math.inf
