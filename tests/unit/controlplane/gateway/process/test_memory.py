"""The memory that workers share."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import pytest

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.process.areas import SIZES, supervisor_column, worker_columns
from controlplane.gateway.process.memory import SharedMemory
from controlplane.gateway.seams import COLUMNS


def test_areas_are_zero_apart_from_each_other_and_seen_by_another_process() -> None:
    memory = SharedMemory.create({"one": 100, "two": mmap.PAGESIZE})
    one, two = memory.area("one"), memory.area("two")
    assert (len(one.view), len(two.view), bytes(one.view)) == (100, mmap.PAGESIZE, bytes(100))
    assert (one.offset, two.offset) == (0, mmap.PAGESIZE)
    one.view[:] = b"\1" * 100
    assert bytes(two.view) == bytes(mmap.PAGESIZE)
    script = (
        "import sys; from controlplane.gateway.process.memory import SharedMemory\n"
        f"memory = SharedMemory.attach(int(sys.argv[1]), {memory.sizes!r})\n"
        "assert bytes(memory.area('one').view) == b'\\1' * 100\n"
        "memory.area('two').view[7] = 42\n"
    )
    subprocess.run([sys.executable, "-c", script, str(memory.fd)], pass_fds=[memory.fd], check=True)
    assert two.view[7] == 42


def test_memory_with_other_areas_is_refused() -> None:
    memory = SharedMemory.create({"one": 100})
    with pytest.raises(GatewayError, match="another version"):
        SharedMemory.attach(memory.fd, {"one": 2 * mmap.PAGESIZE})


def test_the_areas_of_a_gateway_take_no_memory_before_they_are_used() -> None:
    memory = SharedMemory.create(SIZES)
    assert os.fstat(memory.fd).st_blocks == 0
    memory.area("metrics").view[0] = 1
    assert os.fstat(memory.fd).st_blocks * 512 <= 2 * 2**20  # one page, which may be a huge one


def test_a_gateway_and_its_successor_share_no_column() -> None:
    columns = [*worker_columns(0, 60), *worker_columns(1, 60), supervisor_column(0), supervisor_column(1)]
    assert len(set(columns)) == len(columns)
    assert max(columns) < COLUMNS
