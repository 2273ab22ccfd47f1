"""Choice of a backend for a request: by least outstanding work, as the better of two, or by the prompt's prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controlplane.gateway.choosing.replica import Replica
from controlplane.gateway.choosing.ring import Ring


def least(among: Sequence[Replica], turn: int, now: float) -> Replica:
    """Return the backend with the least outstanding work. Equal ones take turns, by the request's number."""
    count = len(among)
    best = among[turn % count]
    best_load = best.load(now)
    for step in range(1, count):
        replica = among[(turn + step) % count]
        load = replica.load(now)
        if load < best_load:
            best, best_load = replica, load
    return best


def better_of_two(among: Sequence[Replica], draw: Callable[[], float], now: float) -> Replica:
    """Return the one with less outstanding work of two different backends, which are drawn. `draw` returns [0, 1)."""
    count = len(among)
    if count == 1:
        return among[0]
    first = int(draw() * count)
    second = (first + 1 + int(draw() * (count - 1))) % count
    one, other = among[first], among[second]
    return other if other.load(now) < one.load(now) else one


def by_prefix(among: Sequence[Replica], ring: Ring, prefix: int, turn: int, now: float) -> Replica:
    """Return the backend of a prefix, or the one with the least work where the request has none."""
    if prefix:
        found = ring.pick(prefix, among)
        if found is not None:
            return found
    return least(among, turn, now)
