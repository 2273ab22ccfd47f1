"""The lock of a data folder, and the last good state in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.gateway.errors import BadDesired, GatewayError
from controlplane.gateway.process.folder import LOCK, FolderLock, holder
from controlplane.gateway.process.state.last_good import DESIRED, LastGood
from tests.fakes.gateway_control_plane import desired_of

ONE = desired_of(1, v1=(1000, "http://a:1"))
TWO = desired_of(2, v1=(1000, "http://b:1"))


def test_a_folder_has_one_gateway_and_the_lock_says_which(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    lock = FolderLock.take(tmp_path)
    assert lock is not None
    assert FolderLock.take(tmp_path) is None
    assert holder(tmp_path) == os.getpid()
    lock.close()
    assert holder(tmp_path) is None
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600


def test_a_lock_that_was_handed_over_outlives_the_one_who_took_it(tmp_path: Path) -> None:
    lock = FolderLock.take(tmp_path)
    assert lock is not None
    copy = FolderLock(os.dup(lock.fd))  # SCM_RIGHTS makes such a copy in another process
    lock.close()
    assert FolderLock.take(tmp_path) is None
    copy.close()
    assert holder(tmp_path) is None


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"nowhere/gateway\.lock: No such file.*; choose another --data-dir"):
        FolderLock.take(tmp_path / "nowhere")


def test_the_last_state_is_stored_whole_for_its_owner_only(tmp_path: Path) -> None:
    disk = LastGood(tmp_path)
    assert disk.read() is None
    disk.write(ONE)
    disk.write(TWO)
    kept = disk.read()
    assert kept is not None
    assert kept.desired == TWO
    assert 0.0 <= kept.age_s < 3600.0
    assert [path.name for path in tmp_path.iterdir()] == [DESIRED]
    assert disk.path.stat().st_mode & 0o777 == 0o600


def test_the_age_is_that_of_the_file(tmp_path: Path) -> None:
    disk = LastGood(tmp_path)
    disk.write(ONE)
    then = disk.path.stat().st_mtime - 7200
    os.utime(disk.path, (then, then))
    kept = disk.read()
    assert kept is not None
    assert 7200 <= kept.age_s < 10_800


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_file_is_named_with_its_fault(tmp_path: Path, content: bytes) -> None:
    disk = LastGood(tmp_path)
    disk.path.write_bytes(content)
    with pytest.raises(BadDesired, match=r"desired\.json: .*delete the file"):
        disk.read()


def test_a_disk_that_takes_nothing_keeps_the_former_state(tmp_path: Path) -> None:
    disk = LastGood(tmp_path)
    disk.write(ONE)
    gone = LastGood(tmp_path / "nowhere")
    with pytest.raises(GatewayError, match=r"nowhere/desired\.json cannot be written: No such file"):
        gone.write(TWO)
    kept = disk.read()
    assert kept is not None
    assert kept.desired == ONE
