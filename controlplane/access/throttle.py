"""Slows down who guesses at the sign-in form. Per process and in memory: it guards log and CPU, not 256 bits."""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil

from controlplane.errors import Unauthenticated


class Throttled(Unauthenticated):
    """Too many failed attempts. `retry_after_s` says when the next one is heard."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many failed sign-ins: try again in {ceil(retry_after_s)} s")
        self.retry_after_s = retry_after_s


class SignInThrottle:
    """Hears at most `limit` failures of one client within `window_s`."""

    def __init__(self, limit: int = 5, window_s: float = 60.0, max_clients: int = 10_000) -> None:
        self._limit, self._window_s, self._max_clients = limit, window_s, max_clients
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, client: str, now: float) -> None:
        """Raise Throttled when the client must wait. To be called before the token is looked at."""
        failures = self._failures.get(client)
        while failures and failures[0] <= now - self._window_s:
            failures.popleft()
        if failures and len(failures) >= self._limit:
            raise Throttled(failures[0] + self._window_s - now)

    def failed(self, client: str, now: float) -> None:
        """Count a failure. The clients that failed longest ago are forgotten first, so memory is bounded."""
        self._failures.setdefault(client, deque(maxlen=self._limit)).append(now)
        self._failures.move_to_end(client)
        while len(self._failures) > self._max_clients:
            self._failures.popitem(last=False)

    def succeeded(self, client: str) -> None:
        """Forget the client's failures."""
        self._failures.pop(client, None)
