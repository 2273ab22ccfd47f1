"""Keeps within a receiver's limit of messages. Some receivers block a sender for minutes that exceeds it.

A Pace refuses a message beyond the limit, which then waits in the queue. A Bucket lets the caller wait: it is for
limits of about a message a second. Notifiers whose limit is one share the bucket.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

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


class Bucket:
    """Spaces calls out: `burst` of them at once, then one every `every_s` seconds, in the order in which they come."""

    def __init__(
        self,
        name: str,
        every_s: float,
        burst: int,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`name` is what is called, as errors say it."""
        self._name, self._every_s, self._burst, self._monotonic, self._sleep = name, every_s, burst, monotonic, sleep
        self._full_at = 0.0
        """When the bucket is full again."""
        self._rests_until = 0.0

    async def take(self, patience_s: float = math.inf) -> None:
        """Wait for a token and take it. A caller that is cancelled while it waits has taken its token.

        Raises DeliveryFailed, with the seconds to wait, when that takes longer than `patience_s`: no token is taken
        then. Raises it too when `rest` was called in the meantime.
        """
        now = self._monotonic()
        wait_s = self._full_at - (self._burst - 1) * self._every_s - now
        if wait_s > 0 and wait_s > patience_s:
            raise self._refusal(wait_s, is_asked=now < self._rests_until)
        self._full_at = max(self._full_at, now) + self._every_s
        if wait_s > 0:
            await self._sleep(wait_s)
            if (rest_s := self._rests_until - self._monotonic()) > 0:
                raise self._refusal(rest_s, is_asked=True)

    def rest(self, seconds: float) -> None:
        """Give no token for `seconds`, then one every `every_s` seconds: the receiver has asked to wait."""
        self._rests_until = max(self._rests_until, self._monotonic() + seconds)
        self._full_at = max(self._full_at, self._rests_until + (self._burst - 1) * self._every_s)

    def _refusal(self, wait_s: float, *, is_asked: bool) -> DeliveryFailed:
        rate = f"the receiver takes one every {self._every_s:g} s, and others are first"
        why = "the receiver has asked to wait" if is_asked else rate
        return DeliveryFailed(f"{self._name}: {why}; the next one may be sent in {wait_s:.0f} s", retry_after=wait_s)


Shared = Callable[[Hashable, Callable[[], Bucket]], Bucket]
"""Returns the bucket of a key, and makes it if nobody has it."""


@runtime_checkable
class Sharing(Protocol):
    """A notifier whose limits may be those of others, too."""

    def use_buckets(self, shared: Shared) -> None:
        """Take the buckets of the next messages from `shared`."""
        ...


class SharedBuckets:
    """The buckets that notifiers share, by what they limit. A bucket that nobody uses any more is forgotten."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, Bucket] = {}

    def share(self, notifiers: Iterable[object]) -> None:
        """Give all notifiers their buckets. A bucket of the call before keeps its state while somebody uses it."""
        before, self._buckets = self._buckets, {}

        def shared(key: Hashable, make: Callable[[], Bucket]) -> Bucket:
            if key not in self._buckets:
                self._buckets[key] = before[key] if key in before else make()
            return self._buckets[key]

        for notifier in notifiers:
            if isinstance(notifier, Sharing):
                notifier.use_buckets(shared)
