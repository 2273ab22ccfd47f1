"""Hedging: after which wait for the first event a second attempt is worth it, and how many of them are allowed."""

from __future__ import annotations

import math

from controlplane.gateway.desired.document import HedgeSpec

LEAST_SAMPLES = 100
"""First events below which no quantile is known. Chosen."""
_MOST_SAMPLES = 2000
"""Samples after which all counts are halved, so that the quantile follows the load."""
_STEPS = 8
"""Buckets of each doubling: a bucket's upper end is 9 % above its lower end."""
_LEAST_S = 0.001
_BUCKETS = 20 * _STEPS
"""From a millisecond to 17 minutes."""


class FirstEvents:
    """Times to the first event of one version, in buckets."""

    __slots__ = ("_counts", "_known", "_total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self._known: tuple[int, float, float] | None = None
        """(total, quantile, seconds) of the last answer, which holds until the total has grown by a tenth."""

    def note(self, seconds: float) -> None:
        """Count the time of one first event."""
        place = int(math.log2(seconds / _LEAST_S) * _STEPS) if seconds > _LEAST_S else 0
        self._counts[min(place, _BUCKETS - 1)] += 1
        self._total += 1
        if self._total >= _MOST_SAMPLES:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)
            self._known = None

    def quantile(self, quantile: float) -> float | None:
        """Return the time, in seconds, below which a share of the first events came. None: too few were seen."""
        if self._total < LEAST_SAMPLES:
            return None
        if self._known is not None and self._known[1] == quantile and self._total < 1.1 * self._known[0]:
            return self._known[2]
        left = quantile * self._total
        place = 0
        while left > self._counts[place]:
            left -= self._counts[place]
            place += 1
        seconds: float = _LEAST_S * 2.0 ** ((place + 1) / _STEPS)
        self._known = (self._total, quantile, seconds)
        return seconds


class HedgeBudget:
    """Second attempts of one model, against its requests."""

    __slots__ = ("_hedged", "_requests")

    def __init__(self) -> None:
        self._requests = 0
        self._hedged = 0

    def request(self) -> None:
        """Count a request. Old counts fade, so that a quiet day does not save up a burst of hedges."""
        self._requests += 1
        if self._requests >= 20_000:
            self._requests //= 2
            self._hedged //= 2

    def allows(self, spec: HedgeSpec) -> bool:
        """Return whether one more second attempt stays within the share."""
        return self._hedged + 1 <= spec.share * self._requests

    def hedge(self) -> None:
        """Count a second attempt."""
        self._hedged += 1


class Portion:
    """Every n-th of a sequence, exactly: `share` 0.25 takes the fourth, the eighth, …"""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due = 0.0

    def take(self, share: float) -> bool:
        """Count one, and return whether it belongs to the portion."""
        self._due += share
        if self._due < 1.0 - 1e-9:
            return False
        self._due -= 1.0
        return True
