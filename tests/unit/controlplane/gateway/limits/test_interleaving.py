"""A settlement takes no lock. Whenever it happens within another worker's reservation, no budget is passed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from controlplane.gateway.desired.document import Desired, LimitSpec
from controlplane.gateway.limits.keeper import Keeper
from controlplane.gateway.limits.locks import Locks
from controlplane.gateway.limits.reservation import HeldReservation
from controlplane.gateway.limits.shared import SharedLimits
from controlplane.gateway.refusal import Refusal
from controlplane.gateway.request import Caller
from controlplane.gateway.seams import Area
from tests.fakes.limits import NOON, World, document, new_area, used


class Watched:
    """Memory that calls back before each read, and may keep writes to itself."""

    def __init__(
        self, floats: memoryview[float], before_read: Callable[[], None] = lambda: None, *, keep: bool = False
    ) -> None:
        self.floats = floats
        self.before_read = before_read
        self.keep = keep
        self.writes: list[tuple[int, float]] = []

    def __getitem__(self, place: int | slice) -> Any:
        self.before_read()
        kept = dict(self.writes) if self.keep else {}
        return self.floats[place] if isinstance(place, slice) else kept.get(place, self.floats[place])

    def __setitem__(self, place: int, value: float) -> None:
        self.writes.append((place, value))
        if not self.keep:
            self.floats[place] = value


def watch(world: World, worker: int, watched: Watched) -> None:
    """Let a worker's limits use watched memory from its next plan on."""
    limits = world.workers[worker]
    limits._memory.floats = watched  # type: ignore[assignment]
    limits._plans.clear()


def interleaved(limits: LimitSpec, writes_before: int, at_read: int) -> tuple[bool, int, int]:
    """Let worker 1 write a part of its settlement before a certain read of worker 0's reservation.

    Returns (whether the reservation passed, number of reads, number of writes).
    """
    world = World(document(limits), workers=2)
    settling = Watched(world.workers[1]._memory.floats, keep=True)
    watch(world, 1, settling)
    settling.keep = False
    held = world.admit(0, 100, worker=1)
    settling.keep, settling.writes = True, []
    held.settle(used(0, 100), world.now)
    floats, writes = settling.floats, settling.writes

    reads = 0

    def settle_in_between() -> None:
        nonlocal reads
        if reads == at_read:
            for place, value in writes[:writes_before]:
                floats[place] = value
        reads += 1

    world.ask(1, 0)  # the plan is made without interruption
    watch(world, 0, Watched(world.workers[0]._memory.floats, settle_in_between))
    found = world.ask(1, 0)
    return isinstance(found, HeldReservation), reads, len(writes)


@pytest.mark.parametrize(
    "limits", [LimitSpec(daily_tokens=100), LimitSpec(monthly_usd=0.0004), LimitSpec(concurrent=1)]
)
def test_a_settlement_at_any_instant_lets_nothing_pass(limits: LimitSpec) -> None:
    passed, reads, writes = interleaved(limits, 0, 0)
    assert not passed and reads > 3 and writes >= 1
    found = {
        (writes_before, at_read)
        for writes_before, at_read in product(range(writes + 1), range(reads))
        if interleaved(limits, writes_before, at_read)[0]
    }
    if limits.concurrent:  # once the place is free, the reservation may pass
        assert {writes_before for writes_before, _ in found} == {writes}
    else:
        assert found == set()


def test_a_worker_that_begins_while_another_waits_for_the_lock_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    desired = document(LimitSpec(daily_tokens=100))
    area = new_area()
    Keeper(area).apply(desired, 0.0)
    first = worker_of(area, 0, desired)
    held = reserved(first, desired, 10)
    assert isinstance(held, HeldReservation)
    held.cancel(0.0)
    acquire, taken = Locks.acquire, list[object]()

    def acquiring(self: Locks, stripe: int) -> int:
        if self is first._locks and not taken:
            taken.append(None)
            taken[0] = reserved(worker_of(area, 1, desired), desired, 95)
        return acquire(self, stripe)

    monkeypatch.setattr(Locks, "acquire", acquiring)
    assert isinstance(reserved(first, desired, 10), Refusal)
    assert isinstance(taken[0], HeldReservation)
    assert isinstance(reserved(first, desired, 5), HeldReservation)


def worker_of(area: Area, column: int, desired: Desired) -> SharedLimits:
    limits = SharedLimits(area, column, unix=lambda: NOON)
    limits.apply(desired, 0.0)
    return limits


def reserved(limits: SharedLimits, desired: Desired, tokens: int) -> HeldReservation | Refusal:
    return limits.reserve(Caller("ab12", "acme"), desired.models[0], tokens, 0, 0.0)
