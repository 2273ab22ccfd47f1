"""The memory that all workers of a gateway share: one file without a name, mapped by the supervisor and its workers.

The file lives as long as a process that has it open, so kill -9 of a worker loses nothing of it. Pages that nothing has
written take no memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Self

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.seams import Area


class SharedMemory:
    """The areas of one file, by name. All bytes of a new file are zero."""

    def __init__(self, fd: int, sizes: Mapping[str, int]) -> None:
        """Map the file. Callers use `create` or `attach`."""
        self.fd, self.sizes = fd, dict(sizes)
        self._map = mmap.mmap(fd, _whole(sizes))
        view = memoryview(self._map)
        self._areas: dict[str, Area] = {}
        offset = 0
        for name, size in self.sizes.items():
            self._areas[name] = Area(view[offset : offset + size], fd, offset)
            offset += _pages(size)

    @classmethod
    def create(cls, sizes: Mapping[str, int]) -> Self:
        """Make a file with an area of each size, in bytes. Raises GatewayError when there is no memory for it."""
        try:
            fd = os.memfd_create("gateway", os.MFD_CLOEXEC)
            os.ftruncate(fd, _whole(sizes))
        except OSError as error:
            raise GatewayError(f"the workers' shared memory cannot be made: {error.strerror}") from error
        return cls(fd, sizes)

    @classmethod
    def attach(cls, fd: int, sizes: Mapping[str, int]) -> Self:
        """Map a file of another process. Raises GatewayError when it has other areas."""
        if os.fstat(fd).st_size != _whole(sizes):
            raise GatewayError("the shared memory has other areas: another version of the program made it")
        return cls(fd, sizes)

    def area(self, name: str) -> Area:
        """Return an area."""
        return self._areas[name]


def _pages(size: int) -> int:
    """Return a size rounded up to whole pages, so that no page belongs to two areas."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _whole(sizes: Mapping[str, int]) -> int:
    return sum(map(_pages, sizes.values()))
