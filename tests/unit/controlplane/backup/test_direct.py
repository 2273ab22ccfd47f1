"""Direct I/O that a file system refuses, also while several threads share a handle."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.backup.direct import open_direct, read_at, write_at


def refusing(call: Callable[..., int], times: int) -> Callable[..., int]:
    """Return a system call that is refused the first times with EINVAL, whatever its handle's flags are."""
    left = times

    def refused(*arguments: object) -> int:
        nonlocal left
        if left:
            left -= 1
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return call(*arguments)

    return refused


def test_odd_lengths_and_places_go_through_the_page_cache(tmp_path: Path) -> None:
    handle = open_direct(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        write_at(handle, memoryview(b"weights"), 3)
        out = memoryview(bytearray(64))
        assert read_at(handle, out, 0, 64) == 10
        assert bytes(out[:10]) == b"\0\0\0weights"
        assert not fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT
    finally:
        os.close(handle)


def test_a_refusal_from_before_another_thread_ended_direct_io_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        monkeypatch.setattr(os, "pwrite", refusing(os.pwrite, 1))
        write_at(handle, memoryview(b"weights"), 0)
        monkeypatch.setattr(os, "preadv", refusing(os.preadv, 1))
        out = memoryview(bytearray(7))
        assert (read_at(handle, out, 0, 7), bytes(out)) == (7, b"weights")
    finally:
        os.close(handle)


def test_a_refusal_that_is_not_about_direct_io_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = open_direct(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        monkeypatch.setattr(os, "pwrite", refusing(os.pwrite, 2))
        with pytest.raises(OSError, match="Invalid argument"):
            write_at(handle, memoryview(b"weights"), 0)
    finally:
        os.close(handle)
