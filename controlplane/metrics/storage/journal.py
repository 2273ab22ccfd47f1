"""The journal: an append-only file of records that describe the stored rows. Each record has a checksum.

    record   mark (4 bytes), length of the payload (u32), CRC-32 of kind and payload (u32), kind (u8), payload

A record is written by one `write`. When this process dies, the record is whole or is cut off at the end. A wrong
checksum at the end of the file is the torn tail of a power cut. A wrong checksum elsewhere is a damaged disk, and
reading goes on at the next mark. One process writes the journal, and others may follow it (see follower.py).
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
"""First bytes of a record. They occur in no UTF-8 text."""

MAX_PAYLOAD = 64 * 2**20
"""Maximum bytes of a payload. Chosen: the layout of the largest scrape takes some MB. A longer record is damage."""


READ_BYTES = 64 * 2**20
"""Read at once of a journal whose length is not known."""


class Kind(IntEnum):
    """Kind of a record. records.py describes the payloads."""

    LAYOUT = 1
    CHUNK = 2
    PACKED = 3
    SWITCH = 4
    GONE = 5
    MOVED = 6
    LOST = 7
    """Damaged bytes. The payload has no meaning."""
    ERA = 8


class Record(NamedTuple):
    """One record, with its place in the file: bytes `start` to before `end`."""

    kind: int
    payload: bytes
    start: int
    end: int


def frame(kind: Kind, payload: bytes) -> bytes:
    """Return the bytes of a record."""
    return _FRAME.pack(MARK, len(payload), zlib.crc32(payload, kind), kind) + payload


def records(data: bytes | memoryview, offset: int = 0) -> Iterator[Record]:
    """Yield the records at the start of `data`, up to the first bytes that are not a whole record.

    `offset` is the place of `data` in its file.
    """
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
    """Return the ranges of bytes (start, end) of a whole journal that are not records."""
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
    """One journal file, open for appending."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises OSError when that fails."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.end = os.fstat(self._file).st_size
        """Length of the file in bytes."""

    def append(self, kind: Kind, payload: bytes) -> None:
        """Append a record. Raises OSError when that fails. The file is then unchanged."""
        self.copy(frame(kind, payload))

    def copy(self, data: bytes) -> None:
        """Append the bytes of whole records. Raises OSError when that fails. The file is then unchanged."""
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self.end + written)
        except OSError:
            with suppress(OSError):  # if this fails too, the next record overwrites the rest
                os.ftruncate(self._file, self.end)
            raise
        self.end += written

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Return the file's bytes from `start` to `end`, by default the whole file. Raises OSError when that fails."""
        parts = []
        while data := os.pread(self._file, READ_BYTES if end is None else end - start, start):
            parts.append(data)
            start += len(data)
        return b"".join(parts)

    def truncate(self, end: int) -> None:
        """Cut off the bytes from `end` on. Raises OSError when that fails."""
        os.ftruncate(self._file, end)
        self.end = end

    def mask(self, start: int, end: int) -> None:
        """Turn damaged bytes, at least as long as a record's head, into LOST records. Raises OSError on failure."""
        while start < end:
            size = end - start if end - start <= MAX_PAYLOAD else MAX_PAYLOAD // 2
            payload = os.pread(self._file, size - _FRAME.size, start + _FRAME.size)
            os.pwrite(self._file, frame(Kind.LOST, payload)[: _FRAME.size], start)
            start += size

    def rename(self, path: Path) -> None:
        """Rename the file. Raises OSError when that fails."""
        self.path = self.path.rename(path)

    def sync(self) -> None:
        """Sync the file to the disk. Blocking. Raises OSError when that fails."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
