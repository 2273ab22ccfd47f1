from __future__ import annotations

import os

import pytest

from controlplane.gateway.limits.locks import DIRECTORY, ROUNDS, TENANTS, UNLOCKED, Locks, stripe_of
from controlplane.gateway.limits.memory import AT_EPOCHS, AT_UNLOCKED, Memory
from tests.fakes.limits import new_area
from tests.fakes.lock_holder import LockHolder


@pytest.fixture
def memory() -> Memory:
    return Memory(new_area())


def test_a_stripe_that_is_free_is_locked_at_once(memory: Memory) -> None:
    locks = Locks(memory)
    byte = locks.acquire(3)
    assert byte != UNLOCKED and locks.holds(3, byte)
    locks.release(byte)
    assert memory.floats[AT_EPOCHS + 3] == 0.0


def test_a_holder_that_is_stopped_is_passed_by(memory: Memory) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with LockHolder(memory.area.fd, first) as holder:
        holder.stop()
        byte = locks.acquire(3)
        assert byte == first + 1 and memory.floats[AT_EPOCHS + 3] == 1.0
        locks.release(byte)
        assert locks.acquire(3) == first + 1  # at once from then on
        assert not locks.holds(3, first)


@pytest.mark.parametrize("busy", [True, False], ids=["it runs", "it sleeps"])
def test_a_holder_that_is_not_stopped_is_waited_for(memory: Memory, busy: bool) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with LockHolder(memory.area.fd, first, ends_after_s=0.15, busy=busy):
        assert locks.acquire(3) == first
        assert memory.floats[AT_EPOCHS + 3] == 0.0


def test_a_holder_that_never_goes_on_is_passed_by_in_the_end(memory: Memory) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with LockHolder(memory.area.fd, first):
        assert locks.acquire(3) == first + 1
        assert memory.floats[AT_EPOCHS + 3] == 1.0


def test_a_lock_ends_with_its_process(memory: Memory) -> None:
    locks = Locks(memory)
    byte = locks.acquire(3)
    locks.release(byte)
    with LockHolder(memory.area.fd, byte):
        pass
    assert locks.acquire(3) == byte


def test_the_epoch_is_raised_over_several_stopped_holders(memory: Memory) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with LockHolder(memory.area.fd, first, ROUNDS - 1) as holder:
        holder.stop()
        assert locks.acquire(3) == first + ROUNDS - 1
        assert memory.floats[AT_EPOCHS + 3] == ROUNDS - 1
        assert memory.floats[AT_UNLOCKED] == 0.0


def test_it_goes_on_without_a_lock_when_every_try_fails(memory: Memory) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with LockHolder(memory.area.fd, first, ROUNDS) as holder:
        holder.stop()
        assert locks.acquire(3) == UNLOCKED
        assert locks.holds(3, UNLOCKED)
        locks.release(UNLOCKED)
        assert memory.floats[AT_UNLOCKED] == 1.0
        assert locks.acquire(3) == first + ROUNDS


def test_tenants_have_stripes_of_their_own_below_the_others() -> None:
    stripes = {stripe_of(f"tenant-{number}") for number in range(10_000)}
    assert stripes == set(range(TENANTS)) and DIRECTORY not in stripes


def test_the_directory_never_uses_bytes_of_another_stripe(memory: Memory) -> None:
    locks = Locks(memory)
    memory.floats[AT_EPOCHS + 7] = 1e6  # after a million stopped workers
    byte = locks.acquire(7)
    assert locks.acquire(8) > byte >= memory.area.offset
    assert os.fstat(memory.area.fd).st_size > byte
