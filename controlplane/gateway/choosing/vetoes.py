"""Vetoes: an engine's own metrics may say that a backend should get nothing now. They never rank backends."""

from __future__ import annotations


class Vetoes:
    """Backends that should get no request for a while, by URL. Empty, or past its time: no opinion."""

    def __init__(self) -> None:
        self.latest = 0.0
        """The latest time until which any veto holds, so that the common case is one comparison."""
        self._until: dict[str, float] = {}

    def say(self, url: str, until: float) -> None:
        """Veto a backend until a time, in monotonic seconds. A time that has passed ends an earlier veto."""
        self._until[url] = until
        self.latest = max(self._until.values())

    def holds(self, url: str, now: float) -> bool:
        """Return whether a backend is vetoed."""
        return self._until.get(url, 0.0) > now

    def keep(self, urls: set[str]) -> None:
        """Forget all backends but these."""
        self._until = {url: until for url, until in self._until.items() if url in urls}
        self.latest = max(self._until.values(), default=0.0)
