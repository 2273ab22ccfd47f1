"""Keeps within a receiver's limit of messages. Some receivers block a sender for minutes that exceeds it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from alerts.errors import DeliveryFailed


class Limit(NamedTuple):
    """At most `messages` within each `within_s` seconds."""

    messages: int
    within_s: float


class Pace:
    """Counts a notifier's messages in this process."""

    def __init__(self, name: str, limits: Sequence[Limit], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name, self._limits, self._monotonic = name, tuple(limits), monotonic
        self._sent: deque[float] = deque(maxlen=max(limit.messages for limit in limits))

    def take(self) -> None:
        """Count one message. Raises DeliveryFailed, with the seconds to wait, when a limit is reached."""
        now = self._monotonic()
        for limit in self._limits:
            if len(self._sent) >= limit.messages:
                wait = self._sent[-limit.messages] + limit.within_s - now
                if wait > 0:
                    told = f"the receiver takes {limit.messages} messages in {limit.within_s:g} s"
                    raise DeliveryFailed(
                        f"{self._name}: {told}; the next one is sent in {wait:.0f} s", retry_after=wait
                    )
        self._sent.append(now)

    def count(self) -> None:
        """Count one message that must not wait: the plain form of one that was refused."""
        self._sent.append(self._monotonic())
