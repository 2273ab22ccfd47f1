"""Who is passed by, and who is waited for."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from controlplane.gateway import patience as module
from controlplane.gateway.patience import SPINS, Patience, holder, is_stopped
from tests.fakes.lock_holder import LockHolder

BYTE = 4096


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("locks")
    yield fd
    os.close(fd)


def pauses(patience: Patience, fd: int) -> int:
    """Return the number of pauses until the holder is to be passed by."""
    return sum(1 for _ in patience.pauses(fd, BYTE))


def test_the_kernel_says_who_holds_a_byte(fd: int) -> None:
    assert holder(fd, BYTE) == 0
    with LockHolder(fd, BYTE) as other:
        assert holder(fd, BYTE) == other.pid
        assert holder(fd, BYTE + 1) == 0
    assert holder(fd, BYTE) == 0


def test_the_holder_of_one_s_own_lock_is_nobody(fd: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, BYTE)
    assert holder(fd, BYTE) == 0


def test_a_file_that_has_no_locks_has_no_holder() -> None:
    assert holder(10**6, BYTE) == 0


def test_a_process_is_stopped_by_sigstop_until_sigcont(fd: int) -> None:
    with LockHolder(fd, BYTE) as other:
        assert not is_stopped(other.pid)
        other.stop()
        assert is_stopped(other.pid)
        other.go_on()
        assert not is_stopped(other.pid)
    assert not is_stopped(other.pid)  # it is gone


def test_a_stopped_holder_is_passed_by_and_at_once_the_next_time(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOKS", 10**9)  # nobody is passed by for being late
    patience = Patience()
    with LockHolder(fd, BYTE) as other:
        other.stop()
        assert pauses(patience, fd) > SPINS
        assert patience.spent
        assert pauses(patience, fd) == SPINS


def test_a_holder_that_was_passed_by_and_goes_on_is_waited_for(fd: int) -> None:
    patience = Patience()
    with LockHolder(fd, BYTE) as other:
        other.stop()
        pauses(patience, fd)
        other.go_on()
        assert pauses(patience, fd) >= SPINS + module._LOOKS


def test_a_holder_that_never_goes_on_is_passed_by_and_at_once_the_next_time(fd: int) -> None:
    patience = Patience()
    with LockHolder(fd, BYTE):
        assert pauses(patience, fd) >= SPINS + module._LOOKS
        assert pauses(patience, fd) == SPINS
        patience.renew()
        assert not patience.spent
        assert pauses(patience, fd) >= SPINS + module._LOOKS


def test_a_holder_that_cannot_be_known_is_passed_by_in_the_end(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "holder", lambda fd, byte: 0)
    with LockHolder(fd, BYTE) as other:
        other.stop()
        assert pauses(Patience(), fd) >= SPINS + module._LOOKS


def test_a_lock_that_goes_from_hand_to_hand_is_waited_for(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look finds another holder. So the wait goes on for more looks than one holder gets."""
    looks: list[int] = []

    def next_holder(fd: int, byte: int) -> int:
        looks.append(len(looks) % 2 + 1)
        return looks[-1]

    monkeypatch.setattr(module, "holder", next_holder)
    monkeypatch.setattr(module, "is_stopped", lambda pid: False)
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    for _ in Patience().pauses(fd, BYTE):
        if len(looks) > 2 * module._LOOKS:
            break
    else:
        pytest.fail(f"it was passed by after {len(looks)} looks")
