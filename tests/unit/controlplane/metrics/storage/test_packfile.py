from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from controlplane.metrics.storage import packfile
from controlplane.metrics.storage.errors import CorruptData
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.packing import Packed, pack
from tests.fakes.memory import resident


def data(rows: int, columns: int = 50, seed: int = 1) -> bytes:
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return pack(np.arange(rows) + 1, values, np.zeros(rows, dtype=np.bool_))


@pytest.fixture
def file(tmp_path: Path) -> PackFile:
    return PackFile(1, tmp_path / "00000001.raw", recorded=False)


def test_chunks_lie_one_behind_the_other_and_are_read_while_the_file_grows(file: PackFile) -> None:
    written = [data(5, seed=n) for n in range(20)]
    read: list[Packed] = []
    for n, one in enumerate(written):
        offset = file.append(one, 1000 - n)
        read.append(file.packed(offset, len(one), f"chunk {n}"))
    assert [bytes(packed.data) for packed in read] == written
    assert (file.live, file.end, file.oldest_ms, file.newest_ms) == (20, sum(map(len, written)), 981, 1000)
    assert file.path.stat().st_blocks * 512 < 2 * file.end
    file.sync()
    file.finish()
    assert file.path.stat().st_size == file.end
    for packed in read:
        packed.check()
    file.remove()
    for packed in read:
        packed.check()
    assert not file.path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what of a file is in a process's memory")
def test_chunks_that_nobody_asked_for_take_no_memory(file: PackFile) -> None:
    written = [data(64, 300, seed=n) for n in range(30)]
    read = [file.packed(file.append(one, 1), len(one), "chunk") for one in written]
    assert file.end > 2**20
    assert resident(file.path) == 0
    for packed in read:
        packed.check()
    assert resident(file.path) >= file.end


def test_a_chunk_larger_than_a_file_and_those_behind_it(file: PackFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packfile, "FILE_BYTES", 3000)
    written = [data(4, 10), data(9, 100), data(4, 10), data(9, 100)]
    read = []
    for one in written:
        offset = file.append(one, 1)
        read.append(file.packed(offset, len(one), "chunk"))
    assert [bytes(packed.data) for packed in read] == written
    for packed in read:
        packed.check()


@pytest.mark.parametrize("torn", [False, True])
def test_a_write_that_fails_adds_nothing(file: PackFile, monkeypatch: pytest.MonkeyPatch, torn: bool) -> None:
    first, second = data(5), data(5, seed=2)
    file.append(first, 1)
    real = os.pwrite

    def failing(descriptor: int, some: bytes, at: int) -> int:
        if torn and at == len(first):
            return real(descriptor, some[:100], at)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", failing)
        with pytest.raises(OSError, match="No space"):
            file.append(second, 2)
    assert (file.end, file.live, file.newest_ms) == (len(first), 1, 1)
    offset = file.append(second, 2)
    assert bytes(file.packed(offset, len(second), "chunk").data) == second


def test_what_is_not_there_is_corrupt_and_says_where(file: PackFile) -> None:
    with pytest.raises(CorruptData, match=r"00000001.raw: .*No such file"):
        file.packed(0, 10, "chunk 3")
    with pytest.raises(FileNotFoundError):
        file.map()
    file.path.write_bytes(b"")
    with pytest.raises(CorruptData, match=r"00000001.raw: it ends before chunk 3"):
        file.packed(0, 10, "chunk 3")
    file.path.write_bytes(b"x" * 100)
    with pytest.raises(CorruptData, match=r"00000001.raw, chunk 3: these are no packed samples"):
        file.packed(0, 100, "chunk 3")


def test_the_length_behind_what_is_needed_is_given_back(file: PackFile) -> None:
    file.append(data(5), 1)
    size = file.end
    other = PackFile(1, file.path, recorded=False)
    other.cut_to(size)
    assert file.path.stat().st_size == size
    other.cut_to(size + 100)
    assert file.path.stat().st_size == size
    file.finish()
    file.finish()
    file.remove()
    file.remove()


def test_a_file_that_a_copy_shares_is_never_cut(file: PackFile, tmp_path: Path) -> None:
    first, second = data(5, seed=1), data(5, seed=2)
    file.append(first, 5)
    file.append(second, 9)
    file.finish()
    os.link(file.path, tmp_path / "copy.raw")
    file.cut_to(len(first))  # the second chunk is gone here, and the copy still needs it
    assert (tmp_path / "copy.raw").read_bytes() == first + second
    (tmp_path / "copy.raw").unlink()
    file.cut_to(len(first))
    assert file.path.read_bytes() == first
