"""Memory that processes share, for tests of the gateway."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.gateway.seams import Area


@contextmanager
def shared_memory(size: int) -> Iterator[Area]:
    """Yield an area of `size` zero bytes. Other processes map its `fd`."""
    fd = os.memfd_create("test")
    os.ftruncate(fd, size)
    try:
        yield Area(memoryview(mmap.mmap(fd, size)), fd, 0)
    finally:
        os.close(fd)
