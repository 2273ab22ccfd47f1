"""The queue's files. A segment has the labels of every row in it, so that older segments can be deleted.

    segment  = "CPSHIP1\\n" record*
    record   = length u32, crc32 u32 of all that follows, type u8, payload
    LAYOUT   = id u32, zstd(count u32, count * length u32, the encoded labels of each series)
    ROW      = id u32, shard u32, timestamp i64 (unix ms), samples u32, snappy(float64 each)
    STALE    = id u32, shard u32, timestamp i64, samples u32, snappy(u32 each: the series that end)

Numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from cramjam import snappy, zstd
from numpy.typing import NDArray

from collectors.samples import FloatArray
from controlplane.metrics.write.shipping.errors import CorruptSegment

MAGIC = b"CPSHIP1\n"
LAYOUT, ROW, STALE_ROW = 1, 2, 3
MAX_RECORD = 256 * 2**20
"""Maximum bytes of a record. A greater length is damage."""

_FRAME = struct.Struct("<IIB")
_ROW = struct.Struct("<IIqI")
_ID = struct.Struct("<I")


class Position(NamedTuple):
    """A place in the queue: number of the segment and byte in it."""

    segment: int
    offset: int


class Row(NamedTuple):
    """A row from the disk, still compressed."""

    layout: int
    shard: int
    timestamp_ms: int
    samples: int
    stale: bool
    packed: bytes

    def values(self) -> FloatArray:
        """Return the values of a row that is not stale: float64 of shape [series]."""
        return np.frombuffer(bytes(snappy.decompress_raw(self.packed)), np.float64)

    def ended(self) -> NDArray[np.uint32]:
        """Return the numbers of the series that a stale row ends: uint32 of shape [samples]."""
        return np.frombuffer(bytes(snappy.decompress_raw(self.packed)), np.uint32)


class Definition(NamedTuple):
    """The series of a layout's rows."""

    layout: int
    labels: tuple[bytes, ...]


def path_of(folder: Path, number: int) -> Path:
    """Return the path of a segment's file."""
    return folder / f"{number:010d}.segment"


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of the segments in a folder, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*.segment") if path.stem.isdecimal())


def packed_labels(labels: Sequence[bytes]) -> bytes:
    """Return labels compressed for `layout_record`. This is expensive, so the caller keeps the result."""
    lengths = np.array([len(one) for one in labels], dtype="<u4").tobytes()
    return bytes(zstd.compress(_ID.pack(len(labels)) + lengths + b"".join(labels), level=1))


def layout_record(layout: int, packed: bytes) -> bytes:
    """Return a LAYOUT record."""
    return _framed(LAYOUT, _ID.pack(layout) + packed)


def row_record(layout: int, shard: int, timestamp_ms: int, values: FloatArray) -> bytes:
    """Return a ROW record of `values`, float64 of shape [series]."""
    packed = bytes(snappy.compress_raw(values.tobytes()))
    return _framed(ROW, _ROW.pack(layout, shard, timestamp_ms, len(values)) + packed)


def stale_record(layout: int, shard: int, timestamp_ms: int, ended: Sequence[int]) -> bytes:
    """Return a STALE record."""
    packed = bytes(snappy.compress_raw(np.array(ended, dtype="<u4").tobytes()))
    return _framed(STALE_ROW, _ROW.pack(layout, shard, timestamp_ms, len(ended)) + packed)


def _framed(kind: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload, kind), kind) + payload


class SegmentReader:
    """Reads one segment's records in order."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError when that fails, and CorruptSegment when the file is not a segment."""
        self._file: IO[bytes] = path.open("rb")
        self.path = path
        self.offset = len(MAGIC)
        if self._file.read(len(MAGIC)) != MAGIC:
            self._file.close()
            raise CorruptSegment(f"{path}: is no segment")

    def records(self, end: int) -> Iterator[Row | Definition]:
        """Yield the records up to byte `end`. `offset` is then the byte after the yielded record.

        Raises CorruptSegment at a damaged record.
        """
        while self.offset < end:
            self._file.seek(self.offset)
            head = self._file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                raise self._corrupt("is cut short")
            length, checksum, kind = _FRAME.unpack(head)
            if length > MAX_RECORD:
                raise self._corrupt("is damaged")
            payload = self._file.read(length)
            if len(payload) < length:
                raise self._corrupt("is cut short")
            if zlib.crc32(payload, kind) != checksum:
                raise self._corrupt("is damaged")
            self.offset += _FRAME.size + length
            if kind == LAYOUT:
                yield _definition(payload)
            elif kind in (ROW, STALE_ROW):
                layout, shard, at, samples = _ROW.unpack_from(payload)
                yield Row(layout, shard, at, samples, kind == STALE_ROW, payload[_ROW.size :])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _corrupt(self, how: str) -> CorruptSegment:
        return CorruptSegment(f"{self.path}: the record at byte {self.offset} {how}; the rest of this file is left out")


def _definition(payload: bytes) -> Definition:
    (layout,) = _ID.unpack_from(payload)
    data = bytes(zstd.decompress(payload[_ID.size :]))
    (count,) = _ID.unpack_from(data)
    start = _ID.size * (1 + count)
    ends = start + np.cumsum(np.frombuffer(data, "<u4", count, _ID.size), dtype=np.int64)
    labels, at = [], start
    for end in ends.tolist():
        labels.append(data[at:end])
        at = end
    return Definition(layout, tuple(labels))
