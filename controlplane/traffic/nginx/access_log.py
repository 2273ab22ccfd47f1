"""Counts of requests from nginx's access log: each line is a process id and the servers that were tried."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 16 * 2**20
"""Most bytes that one look reads. Chosen: some 500,000 requests; the rest is read at the next look."""


class AccessLog:
    """Reads what was appended since the last look, over rotations. Blocking; used by one thread at a time."""

    def __init__(self, path: Path, versions: Mapping[str, str]) -> None:
        """`versions` maps a server's host:port to its version."""
        self._path, self._versions = path, versions
        self._inode, self._offset = 0, -1
        self._totals = dict.fromkeys(versions.values(), 0)

    def totals(self) -> dict[str, int]:
        """Return the requests of each version since the first look. Raises OSError.

        A retried request counts for the last server, which answered it.
        """
        with self._path.open("rb") as file:
            stat = os.fstat(file.fileno())
            if self._offset < 0:
                self._inode, self._offset = stat.st_ino, stat.st_size
            if stat.st_ino != self._inode or stat.st_size < self._offset:  # rotated or truncated
                self._inode, self._offset = stat.st_ino, 0
            file.seek(self._offset)
            data = file.read(MAX_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            address = line.rpartition(b" ")[2].decode("ascii", "replace")
            if (version := self._versions.get(address)) is not None:
                self._totals[version] += 1
        return dict(self._totals)
