"""Pressure on one model: how fast it drains, when a retry may succeed, and which requests are shed."""

from __future__ import annotations

import math

MEMORY_S = 10.0
"""Time constant of the drain rate, in seconds. Chosen: some answers long, and short against a change of load."""
FOLD_S = 0.2
"""Age of the count, in seconds, from which it is faded. It is short against MEMORY_S."""
LEAST_RETRY_S = 1.0
MOST_RETRY_S = 60.0
"""Limits of `Retry-After`. OpenAI's client waits at most 120 s, and does not retry at all when told a longer time."""
QUEUE_DEPTH = 5.0
"""Waiting requests a backend that count as full saturation, as llm-d's detector has it."""
SHEDDING_S = 10.0
"""Time after a wait or a refusal in which the model counts as shedding, in seconds. Chosen."""


class Drain:
    """Rate at which backends of a model become free, decayed with MEMORY_S."""

    __slots__ = ("_began", "_count", "_seen_at")

    def __init__(self) -> None:
        self._count = 0.0
        self._began: float | None = None
        self._seen_at = 0.0

    def note(self, now: float) -> None:
        """Note that a request ended. The first one begins the count and is not in it."""
        if self._began is None:
            self._began = self._seen_at = now
            return
        if now - self._seen_at >= FOLD_S:
            self._count *= math.exp((self._seen_at - now) / MEMORY_S)
            self._seen_at = now
        self._count += 1.0

    def rate(self, now: float) -> float | None:
        """Return the requests that end in a second. None: less than a second was seen, or none ended lately."""
        if self._began is None or now - self._began < 1.0:
            return None
        count = self._count * math.exp((self._seen_at - now) / MEMORY_S)
        rate = count / (MEMORY_S * (1.0 - math.exp((self._began - now) / MEMORY_S)))
        return rate if rate > 1e-3 else None

    def retry_after(self, ahead: int, patience_s: float, now: float) -> float:
        """Return the seconds until `ahead` waiting requests will have been served, and one more.

        While the rate is not known it is `patience_s`, the longest wait in the queue. Always 1 to 60 s.
        """
        rate = self.rate(now)
        seconds = patience_s if rate is None else (ahead + 1) / rate
        return min(max(seconds, LEAST_RETRY_S), MOST_RETRY_S)


def shed_chance(waiting: int, backends: int) -> float:
    """Return the probability that a request of a priority below 0 is shed.

    llm-d's curve min(300 s^5, 1): all of them from s = 0.34 on. The saturation s is the mean number of requests that
    wait for a backend, against QUEUE_DEPTH.
    """
    saturation = waiting / (QUEUE_DEPTH * max(backends, 1))
    return min(300.0 * saturation**5, 1.0)
