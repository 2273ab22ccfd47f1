"""The directory of slots: the slot of each limit, which all workers agree on because it is in the shared memory.

A limit's id is hashed to 126 bits, and its slot is found by open addressing from there. Slots are allotted and freed
under one lock; finding needs none, because a slot's digest is written before its state.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import NamedTuple

from controlplane.gateway.errors import BadDesired
from controlplane.gateway.limits.locks import DIRECTORY, Locks
from controlplane.gateway.limits.memory import (
    AT_CHANGES,
    CELL,
    DIGEST_HIGH,
    DIGEST_LOW,
    EMPTY,
    FREED,
    GENERATION,
    MOST_LIMITS,
    SLOT,
    SLOTS,
    STATE,
    USED,
    Memory,
)


class Place(NamedTuple):
    """The slot of a limit. `generation` tells it from other limits that had the slot before."""

    slot: int
    generation: float


class Directory:
    """Finds, allots and frees slots."""

    def __init__(self, memory: Memory, locks: Locks) -> None:
        self._memory = memory
        self._locks = locks

    def find(self, limit_id: str) -> Place | None:
        """Return the slot of a limit, or None."""
        number, _ = self._search(_digest(limit_id))
        return None if number is None else self._place(number)

    def allot(self, limit_ids: Collection[str]) -> dict[str, Place]:
        """Return the slots of all these limits, new ones included. Raises BadDesired when there are too many."""
        if len(limit_ids) > MOST_LIMITS:
            raise BadDesired(f"{len(limit_ids)} keys, tenants and models have limits; a gateway can hold {MOST_LIMITS}")
        byte = self._locks.acquire(DIRECTORY)
        try:
            return {limit_id: self._allot(limit_id) for limit_id in limit_ids}
        finally:
            self._locks.release(byte)

    def free_all_but(self, limit_ids: Iterable[str]) -> int:
        """Free the slots of all other limits, and return their number. Their workers notice it by the generation."""
        kept = {_digest(limit_id) for limit_id in limit_ids}
        ints = self._memory.ints
        freed = 0
        byte = self._locks.acquire(DIRECTORY)
        try:
            for number in self._used():
                place = self._memory.slot(number)
                if (ints[place + DIGEST_HIGH], ints[place + DIGEST_LOW]) not in kept:
                    self._memory.floats[place + GENERATION] += 1.0
                    ints[place + STATE] = FREED
                    self._shorten(number)
                    freed += 1
            self._memory.floats[AT_CHANGES] += bool(freed)
        finally:
            self._locks.release(byte)
        return freed

    def _shorten(self, number: int) -> None:
        """Make freed slots empty that no search has to pass: those before an empty one."""
        ints, memory = self._memory.ints, self._memory
        while ints[memory.slot((number + 1) % SLOTS) + STATE] == EMPTY and ints[memory.slot(number) + STATE] == FREED:
            ints[memory.slot(number) + STATE] = EMPTY
            number = (number - 1) % SLOTS

    def _used(self) -> list[int]:
        ints, memory = self._memory.ints, self._memory
        states = ints[memory.slot(0) + STATE : memory.slot(SLOTS) : SLOT]
        return [number for number, state in enumerate(states) if state == USED]

    def _place(self, number: int) -> Place:
        return Place(number, self._memory.floats[self._memory.slot(number) + GENERATION])

    def _allot(self, limit_id: str) -> Place:
        digest = _digest(limit_id)
        number, free = self._search(digest)
        if number is not None:
            return self._place(number)
        if free is None:
            raise BadDesired(f"no slot is left for the limits of {limit_id}: a gateway can hold {MOST_LIMITS}")
        memory = self._memory
        place = memory.slot(free)
        generation = memory.floats[place + GENERATION] + 1.0
        memory.ints[place + STATE] = FREED  # while the numbers change, nobody finds it
        for field in range(GENERATION + 1, SLOT):
            memory.floats[place + field] = 0.0
        for column in range(memory.columns()):
            cell = memory.cell(column, free)
            for field in range(CELL):
                memory.floats[cell + field] = 0.0
        memory.floats[place + GENERATION] = generation
        memory.ints[place + DIGEST_HIGH], memory.ints[place + DIGEST_LOW] = digest
        memory.ints[place + STATE] = USED
        memory.floats[AT_CHANGES] += 1.0
        return Place(free, generation)

    def _search(self, digest: tuple[int, int]) -> tuple[int | None, int | None]:
        """Return (the slot of the digest, the first slot on its way that may be allotted). None: there is none."""
        ints, memory = self._memory.ints, self._memory
        free: int | None = None
        for step in range(SLOTS):
            number = (digest[1] + step) % SLOTS
            place = memory.slot(number)
            state = ints[place + STATE]
            if state == USED and ints[place + DIGEST_LOW] == digest[1] and ints[place + DIGEST_HIGH] == digest[0]:
                return number, None
            if state != USED and free is None:
                free = number
            if state == EMPTY:
                break
        return None, free


def _digest(limit_id: str) -> tuple[int, int]:
    high, low = struct.unpack("<QQ", blake2b(limit_id.encode(), digest_size=16).digest())
    return high >> 1, low >> 1  # int64 of the memory has 63 bits above zero
