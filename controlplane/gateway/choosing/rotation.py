"""Weights to a sequence of versions (smooth weighted round robin), and a session to a version."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from math import gcd

_POINTS = 2**64


@lru_cache(maxsize=512)
def rotation(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of the version of each ticket: smooth weighted round robin, as HAProxy and nginx have it.

    The sequence is repeated. Its length is the sum of the weights, divided by their common divisor, so any 1,000
    successive tickets of weights in thousandths hold exactly the weights. `(3, 1)` → `(0, 0, 1, 0)`. At least one
    weight is above zero.
    """
    shrink = gcd(*weights)
    steps = [weight // shrink for weight in weights]
    total = sum(steps)
    current = [0] * len(steps)
    sequence = []
    for _ in range(total):
        current = [have + step for have, step in zip(current, steps, strict=True)]
        best = max(range(len(steps)), key=current.__getitem__)
        current[best] -= total
        sequence.append(best)
    return tuple(sequence)


def point(tenant: str, session: str) -> int:
    """Return the place of a session on the line from 0 to 2^64. It is the same in every gateway, at every time."""
    digest = hashlib.blake2b(f"{tenant}\0{session}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def bounds(weights: Sequence[int]) -> list[int]:
    """Return the end of each version's part of the line from 0 to 2^64.

    When one version grows and no other one does, its new part contains its old one: no session leaves it.
    """
    total = sum(weights)
    return [_POINTS * end // total for end in accumulate(weights)]


def newest_first(names: Iterable[str]) -> list[str]:
    """Return names of versions in their fixed order. Numbers in them compare as numbers: `v10` before `v9`."""
    return sorted(names, key=lambda name: ([_rank(part) for part in re.split(r"(\d+)", name)], name), reverse=True)


def _rank(part: str) -> tuple[int, int, str]:
    return (1, int(part), "") if part.isdecimal() else (0, 0, part)
