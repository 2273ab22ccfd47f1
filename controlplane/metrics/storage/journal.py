"""The journal: what describes the stored rows, as an append-only file of checked records.

    record   mark (4 bytes), length of the payload (u32), CRC-32 of kind and payload (u32), kind (u8), payload

A record is written by one `write`, so the death of this process leaves it whole or cut off at the end; what does not
check at the end is the torn tail of a power cut. What does not check elsewhere is a damaged disk: the next mark says
where to go on. One process writes; others may follow (see follower.py).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_FRAME = struct.Struct("<4sIIB")

MARK = b"\xff\xfeCJ"
"""Begins a record. No text in UTF-8 holds it."""

MAX_PAYLOAD = 64 * 2**20
"""A layout of the largest body allowed takes some MB; a longer record is not ours."""


READ_BYTES = 64 * 2**20
"""Read at once of a journal whose length is not known."""


class Kind(IntEnum):
    """What a record says. Its payload is described in records.py."""

    LAYOUT = 1
    CHUNK = 2
    PACKED = 3
    SWITCH = 4
    GONE = 5
    MOVED = 6
    LOST = 7
    """A stretch that was damaged; its payload means nothing."""
    ERA = 8


class Record(NamedTuple):
    """One record, and where it lies in its file."""

    kind: int
    payload: bytes
    start: int
    end: int


def frame(kind: Kind, payload: bytes) -> bytes:
    """Return a record's bytes."""
    return _FRAME.pack(MARK, len(payload), zlib.crc32(payload, kind), kind) + payload


def records(data: bytes | memoryview, offset: int = 0) -> Iterator[Record]:
    """Yield the whole records of `data`; `offset` is where it lies in its file. Stops at the first that is not one."""
    view, at = memoryview(data), 0
    while (record := _record(view, at, offset)) is not None:
        yield record
        at = record.end - offset


def _record(view: memoryview, at: int, offset: int = 0) -> Record | None:
    if at + _FRAME.size > len(view):
        return None
    mark, length, crc, kind = _FRAME.unpack_from(view, at)
    end = at + _FRAME.size + length
    if mark != MARK or length > MAX_PAYLOAD or end > len(view):
        return None
    payload = bytes(view[at + _FRAME.size : end])
    return Record(kind, payload, offset + at, offset + end) if zlib.crc32(payload, kind) == crc else None


def damage(data: bytes) -> list[tuple[int, int]]:
    """Return the stretches (start, end) of a whole journal that are no records."""
    view, found, at = memoryview(data), [], 0
    while at < len(data):
        record = _record(view, at)
        if record is not None:
            at = record.end
            continue
        start, at = at, data.find(MARK, at + 1)
        while at >= 0 and _record(view, at) is None:
            at = data.find(MARK, at + 1)
        at = len(data) if at < 0 else at
        found.append((start, at))
    return found


class Journal:
    """Appends to one journal file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises OSError."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.end = os.fstat(self._file).st_size
        """Bytes written."""

    def append(self, kind: Kind, payload: bytes) -> None:
        """Add a record. Raises OSError, and then the file is as it was before."""
        self.copy(frame(kind, payload))

    def copy(self, data: bytes) -> None:
        """Add whole records, as they lie in another journal. Raises OSError, and then the file is as it was before."""
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self.end + written)
        except OSError:
            with suppress(OSError):  # what stays is overwritten by the next record
                os.ftruncate(self._file, self.end)
            raise
        self.end += written

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Return the file's bytes from `start` to `end`, the whole file by default. Raises OSError."""
        parts = []
        while data := os.pread(self._file, READ_BYTES if end is None else end - start, start):
            parts.append(data)
            start += len(data)
        return b"".join(parts)

    def truncate(self, end: int) -> None:
        """Cut off what lies behind `end`. Raises OSError."""
        os.ftruncate(self._file, end)
        self.end = end

    def mask(self, start: int, end: int) -> None:
        """Turn a damaged stretch, of at least a record's length, into records that say nothing. Raises OSError."""
        while start < end:
            size = end - start if end - start <= MAX_PAYLOAD else MAX_PAYLOAD // 2
            payload = os.pread(self._file, size - _FRAME.size, start + _FRAME.size)
            os.pwrite(self._file, frame(Kind.LOST, payload)[: _FRAME.size], start)
            start += size

    def rename(self, path: Path) -> None:
        """Give the file another name. Raises OSError."""
        self.path = self.path.rename(path)

    def sync(self) -> None:
        """Write what the kernel holds to the disk. Blocking. Raises OSError."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
