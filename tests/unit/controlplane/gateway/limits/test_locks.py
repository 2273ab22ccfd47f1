from __future__ import annotations

import os
import subprocess
import sys

import pytest

from controlplane.gateway.limits.locks import DIRECTORY, ROUNDS, TENANTS, UNLOCKED, Locks, stripe_of
from controlplane.gateway.limits.memory import AT_EPOCHS, AT_UNLOCKED, Memory
from tests.fakes.limits import new_area

HOLDER = """
import fcntl, sys
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, int(sys.argv[3]), int(sys.argv[2]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def memory() -> Memory:
    return Memory(new_area())


def hold(memory: Memory, byte: int, length: int = 1) -> subprocess.Popen[str]:
    """Start a process that locks some bytes until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(memory.area.fd), str(byte), str(length)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[memory.area.fd], text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_stripe_that_is_free_is_locked_at_once(memory: Memory) -> None:
    locks = Locks(memory)
    byte = locks.acquire(3)
    assert byte != UNLOCKED and locks.holds(3, byte)
    locks.release(byte)
    assert memory.floats[AT_EPOCHS + 3] == 0.0


def test_a_holder_that_does_not_go_on_is_passed_by(memory: Memory) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with hold(memory, first) as holder:
        byte = locks.acquire(3)
        assert byte == first + 1 and memory.floats[AT_EPOCHS + 3] == 1.0
        locks.release(byte)
        assert locks.acquire(3) == first + 1  # at once from then on
        assert not locks.holds(3, first)
        holder.communicate("")


def test_a_lock_ends_with_its_process(memory: Memory) -> None:
    locks = Locks(memory)
    byte = locks.acquire(3)
    locks.release(byte)
    holder = hold(memory, byte)
    holder.kill()
    holder.communicate()
    assert locks.acquire(3) == byte


def test_it_goes_on_without_a_lock_when_every_try_fails(memory: Memory) -> None:
    locks = Locks(memory)
    first = locks.acquire(3)
    locks.release(first)
    with hold(memory, first, ROUNDS) as holder:
        assert locks.acquire(3) == UNLOCKED
        assert locks.holds(3, UNLOCKED)
        locks.release(UNLOCKED)
        assert memory.floats[AT_UNLOCKED] == 1.0
        holder.communicate("")


def test_tenants_have_stripes_of_their_own_below_the_others() -> None:
    stripes = {stripe_of(f"tenant-{number}") for number in range(10_000)}
    assert stripes == set(range(TENANTS)) and DIRECTORY not in stripes


def test_the_directory_never_uses_bytes_of_another_stripe(memory: Memory) -> None:
    locks = Locks(memory)
    memory.floats[AT_EPOCHS + 7] = 1e6  # after a million stopped workers
    byte = locks.acquire(7)
    assert locks.acquire(8) > byte >= memory.area.offset
    assert os.fstat(memory.area.fd).st_size > byte
