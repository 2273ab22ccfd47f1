"""A hash ring with a load bound: requests with the same beginning of the prompt go to the same backend."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Collection, Sequence

from controlplane.gateway.choosing.replica import Replica

BOUND = 1.25
"""Load above the mean from which a backend is passed over, as smg's bounded hash."""
POINTS = 64
"""Points of each backend on the ring. Chosen: shares differ by some 10 %."""
_SPREAD = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, which spreads hashes that use few bits."""
_MASK = 2**64 - 1


class Ring:
    """The ring of a version. Its size depends on the number of backends alone."""

    __slots__ = ("_owners", "_places")

    def __init__(self, replicas: Sequence[Replica]) -> None:
        points = sorted(
            (int.from_bytes(hashlib.blake2b(f"{replica.spec.url}#{n}".encode(), digest_size=8).digest(), "big"), place)
            for place, replica in enumerate(replicas)
            for n in range(POINTS)
        )
        self._places = [at for at, _ in points]
        self._owners = [replicas[place] for _, place in points]

    def pick(self, prefix: int, among: Collection[Replica]) -> Replica | None:
        """Return the first backend from the prefix's place on that has no more than its part of the open requests.

        None: none of `among` is on the ring.
        """
        total = sum(replica.requests + replica.others for replica in among)
        most = BOUND * (total + 1) / len(among)
        start = bisect(self._places, (prefix * _SPREAD) & _MASK)
        passed: set[int] = set()
        owners = self._owners
        for step in range(len(owners)):
            replica = owners[(start + step) % len(owners)]
            if id(replica) in passed:
                continue
            if replica in among and replica.requests + replica.others <= most:
                return replica
            passed.add(id(replica))
            if len(passed) * POINTS == len(owners):
                break
        return None
