"""A lane: the versions that requests of one model, or of one of its adapters, are split over."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from controlplane.gateway.choosing.memory import Memory, key_of
from controlplane.gateway.choosing.rotation import bounds, newest_first, point, rotation
from controlplane.gateway.choosing.tickets import Tickets
from controlplane.gateway.choosing.version import Version


class Way(NamedTuple):
    """The version that a request gets, before a backend is known: the Route of `gateway/seams.py`."""

    version: Version
    adapter: str
    """LoRA adapter that the request names as its model, or ""."""
    pinned: bool
    """Whether a tester chose the version."""

    @property
    def name(self) -> str:
        """Name of the version."""
        return self.version.name


class Lane:
    """The split of one lane. It takes tickets of its own, so that each lane keeps to the weights."""

    def __init__(self, model: str, adapter: str, memory: Memory) -> None:
        self.adapter = adapter
        """"": the model itself."""
        self._memory = memory
        self._key = key_of("tickets", model, adapter)
        self._tickets = Tickets(memory, None)
        self._ways: list[Way] = []
        self._table: tuple[int, ...] = ()
        self._bounds: list[int] = []

    def apply(self, versions: Sequence[Version]) -> None:
        """Split over those versions that have a weight and a backend for new requests, from the next request on."""
        able = {one.name: one for one in versions if one.weight > 0 and one.accepts(self.adapter)}
        self._ways = [Way(able[name], self.adapter, False) for name in newest_first(able)]
        weights = [way.version.weight for way in self._ways]
        self._table = rotation(tuple(weights)) if weights else ()
        self._bounds = bounds(weights) if weights else []
        self.place()

    def place(self) -> bool:
        """Find the row of the counter, if there is anything to split. Return whether nothing is missing."""
        if len(self._ways) > 1 and self._tickets.row is None:
            self._tickets.row = self._memory.lanes.hold(self._key)
            return self._tickets.row is not None
        return True

    def close(self) -> None:
        """The lane is gone: give the row back."""
        if self._tickets.row is not None:
            self._memory.lanes.drop(self._tickets.row)
            self._tickets.row = None

    def way(self, tenant: str, session: str) -> Way | None:
        """Return the version of a request. A session always gets the same one while the weights are the same.

        None: no version takes new requests.
        """
        ways = self._ways
        if len(ways) < 2:
            return ways[0] if ways else None
        if session:
            return ways[bisect_right(self._bounds, point(tenant, session))]
        return ways[self._table[self._tickets.take() % len(self._table)]]

    def is_free(self, now: float) -> bool:
        """Return whether each version of the split has a free backend, and no queue."""
        return bool(self._ways) and all(way.version.is_free(now) for way in self._ways)

    def has(self, version: Version) -> bool:
        """Return whether requests may be sent to a version without a tester's wish."""
        return any(way.version is version for way in self._ways)
