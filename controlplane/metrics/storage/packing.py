"""Packed samples: consecutive rows of one layout, some ten times smaller than float64, read by column.

Columns are packed in frames of 32 neighbours. So a query for the buckets of one histogram unpacks few other columns.
Within a frame a column is one of three kinds:

    constant    one value
    integer     differences from row to row, zigzagged into the fewest whole bytes: counters and most gauges
    real        exclusive-or with the row before, bit for bit: sums of seconds, ratios

The numbers' bytes are transposed (all lowest bytes first), which leaves long runs of zeros, and compressed by zstd.
The ideas are Gorilla's (Pelkonen et al., VLDB 2015: differences and XOR) and Blosc's (shuffle before compression), in a
form that numpy does for all columns at once. The vLLM capture with its values moving takes some 0.75 bytes a sample.

    head     rows, columns, first and last time, then length and CRC-32 of every frame, then CRC-32 of all before
    frame 0  times (differences of differences), then one bit a row: whether it is an end row
    frame n  columns 32 (n - 1) to 32 n
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cramjam
import numpy as np
from numpy.typing import NDArray

from collectors.samples import FloatArray
from controlplane.metrics.arrays import BoolArray, IntArray, mark_stale
from controlplane.metrics.storage.errors import CorruptData

FRAME_COLUMNS = 32
"""Columns of a frame. Chosen: larger frames are 2% smaller, and every reader of one column unpacks more."""

LEVEL = 1
"""Level of zstd. Chosen: level 9 gains 3%."""

EXACT = 2.0**53
"""Bound of whole numbers that are exact in float64. Their differences are exact in int64."""

MAX_ROWS, MAX_COLUMNS = 1 << 16, 1 << 24
"""Maximum rows and columns in a head. Larger numbers are damage."""

_HEAD = struct.Struct("<4sIIqqI")
_FRAME = struct.Struct("<II")
_CRC = struct.Struct("<I")
_MAGIC = b"CPK1"
_CONSTANT, _REAL, _INTEGER = 0, 1, 2
"""Kinds of columns. The kind of an integer column is _INTEGER + log2 of its bytes a row."""


def pack(times: IntArray, values: FloatArray, ends: BoolArray) -> bytes:
    """Return rows as packed bytes: `times` [rows] ascending, `values` [rows, columns], `ends` [rows] true for end rows.

    The values of an end row are not kept. They read back as staleness markers.
    """
    rows, columns = values.shape
    assert 0 < rows <= MAX_ROWS, "a packed chunk has rows"
    table = np.ascontiguousarray(values.T)
    if ends.any():
        # An end row repeats the row before, which costs nothing. A marker in every column would make all columns real.
        source = np.maximum.accumulate(np.where(ends, -1, np.arange(rows)))
        table = np.ascontiguousarray(table[:, np.maximum(source, 0)])
        table[:, source < 0] = 0.0
    spread = np.diff(times, n=2, prepend=times[[0, 0]])
    frames = [_compress(spread.astype("<i8").tobytes() + np.packbits(ends).tobytes())]
    frames += [_compress(_frame(table[at : at + FRAME_COLUMNS])) for at in range(0, columns, FRAME_COLUMNS)]
    head = _HEAD.pack(_MAGIC, rows, columns, int(times[0]), int(times[-1]), len(frames))
    sizes = b"".join(_FRAME.pack(len(frame), zlib.crc32(frame)) for frame in frames)
    return b"".join((head, sizes, _CRC.pack(zlib.crc32(head + sizes)), *frames))


def _compress(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data, LEVEL))


def _frame(table: FloatArray) -> bytes:
    """Return the bytes of some columns `[columns, rows]`, not compressed."""
    bits = table.view(np.int64)
    kinds = np.full(len(table), _REAL, dtype=np.uint8)
    with np.errstate(invalid="ignore"):  # staleness markers are NaNs that signal
        whole = (table == np.rint(table)).all(axis=1) & (np.abs(table) < EXACT).all(axis=1)
    # Minus zero is whole, but int64 cannot hold it.
    whole &= ~(np.signbit(table) & (table == 0)).any(axis=1)
    steps = np.diff(np.where(whole[:, None], table, 0.0).astype(np.int64), axis=1)
    zigzag = (steps << 1) ^ (steps >> 63)
    widest = zigzag.max(axis=1, initial=0)
    width = np.searchsorted(np.array([1 << 8, 1 << 16, 1 << 32]), widest, side="right")
    kinds[whole] = _INTEGER + width[whole]
    kinds[(bits == bits[:, :1]).all(axis=1)] = _CONSTANT
    parts = [kinds.tobytes(), np.ascontiguousarray(table[:, 0]).tobytes()]
    for power in range(4):
        picked = zigzag[kinds == _INTEGER + power]
        if len(picked):
            parts.append(_shuffled(picked.astype(f"<u{1 << power}")))
    real = bits[kinds == _REAL]
    if len(real):
        parts.append(_shuffled(real[:, 1:] ^ real[:, :-1]))
    return b"".join(parts)


def _shuffled(numbers: NDArray[np.integer[Any]]) -> bytes:
    """Return the numbers' bytes transposed: the first byte of every number, then the second of every number, …"""
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(numbers.size, -1).T.tobytes()


class Packed:
    """Packed rows in a buffer. They are read frame by frame, and each frame's checksum is checked."""

    __slots__ = ("_data", "_place", "columns", "first_ms", "last_ms", "rows", "size")

    def __init__(self, data: memoryview | bytes, place: str) -> None:
        """`place` names file and position in errors. Raises CorruptData when the head is damaged or missing."""
        self._data, self._place = memoryview(data), place
        try:
            magic, self.rows, self.columns, self.first_ms, self.last_ms, frames = _HEAD.unpack_from(self._data)
        except struct.error as error:
            raise CorruptData(f"{place}: packed samples are cut off") from error
        expected = 1 + -(-self.columns // FRAME_COLUMNS)
        if magic != _MAGIC or not 0 < self.rows <= MAX_ROWS or self.columns > MAX_COLUMNS or frames != expected:
            raise CorruptData(f"{place}: these are no packed samples")
        start = _HEAD.size + frames * _FRAME.size
        if start + _CRC.size > len(self._data):
            raise CorruptData(f"{place}: packed samples are cut off")
        if (zlib.crc32(self._data[:start]),) != _CRC.unpack_from(self._data, start):
            raise CorruptData(f"{place}: the head of packed samples is damaged")
        self.size: int = start + _CRC.size + int(self._sizes(frames).sum())
        """Length of the packed bytes."""

    @property
    def data(self) -> memoryview:
        """The packed bytes."""
        return self._data[: self.size]

    def _sizes(self, frames: int) -> NDArray[np.int64]:
        """Return the lengths of the first `frames` frames in bytes: int64 of shape [frames]."""
        return np.frombuffer(self._data, "<u4", 2 * frames, _HEAD.size)[::2].astype(np.int64)

    def times_and_ends(self) -> tuple[IntArray, BoolArray]:
        """Return the times `[rows]` (unix milliseconds) and a mask of the end rows `[rows]`.

        Raises CorruptData when the bytes are damaged.
        """
        bits = -(-self.rows // 8)
        data = self._open(0, 8 * self.rows + bits)
        if len(data) != 8 * self.rows + bits:
            raise CorruptData(f"{self._place}: the times of packed samples are cut off")
        spread = np.frombuffer(data, "<i8", self.rows).astype(np.int64)
        ends = np.unpackbits(np.frombuffer(data, np.uint8, bits, 8 * self.rows), count=self.rows).astype(np.bool_)
        return self.first_ms + np.cumsum(np.cumsum(spread)), ends

    def values(self, columns: IntArray, ends: BoolArray) -> FloatArray:
        """Return the values of columns [n] as float64 of shape [n, rows]. End rows `ends` [rows] are staleness markers.

        Raises CorruptData when the bytes are damaged.
        """
        out = np.empty((len(columns), self.rows))
        frame_of = columns // FRAME_COLUMNS
        for frame in np.unique(frame_of).tolist():
            table = self._table(frame)
            mine = frame_of == frame
            out[mine] = table[columns[mine] - frame * FRAME_COLUMNS]
        if ends.any():
            mark_stale(out, np.broadcast_to(ends, out.shape))
        return out

    def check(self) -> None:
        """Raise CorruptData unless every frame is whole."""
        for number in range(self._count):
            self._checked(number)

    @property
    def _count(self) -> int:
        frames: int = 1 + -(-self.columns // FRAME_COLUMNS)
        return frames

    def _table(self, frame: int) -> FloatArray:
        """Return the values of a frame's columns `[columns, rows]`."""
        count = min(FRAME_COLUMNS, self.columns - frame * FRAME_COLUMNS)
        data = self._open(frame + 1, count * (9 + 8 * self.rows))
        try:
            return self._unpacked(data, count)
        except ValueError as error:
            raise CorruptData(f"{self._place}: frame {frame + 1} is cut off") from error

    def _unpacked(self, data: bytes, count: int) -> FloatArray:
        kinds = np.frombuffer(data, np.uint8, count)
        first = np.frombuffer(data, "<f8", count, count)
        table: FloatArray = np.repeat(first[:, None], self.rows, axis=1)
        at, steps = 9 * count, self.rows - 1
        for power in range(4):
            mine = kinds == _INTEGER + power
            if mine.any() and steps:
                zigzag = _unshuffled(data, at, int(mine.sum()), steps, 1 << power)
                at += zigzag.nbytes
                moves = zigzag.astype(np.uint64)
                deltas = (moves >> np.uint64(1)).astype(np.int64) ^ -(moves & np.uint64(1)).astype(np.int64)
                table[mine, 1:] = first[mine].astype(np.int64)[:, None] + np.cumsum(deltas, axis=1)
        real = kinds == _REAL
        if real.any() and steps:
            moves = _unshuffled(data, at, int(real.sum()), steps, 8)
            start = first[real].view(np.int64)[:, None]
            bits = np.bitwise_xor.accumulate(np.concatenate((start, moves.astype(np.int64)), axis=1), axis=1)
            table[real] = np.ascontiguousarray(bits).view(np.float64)
        return table

    def _open(self, number: int, most: int) -> bytes:
        """Return a frame's decompressed bytes, at most `most`, so that a damaged frame cannot fill the memory."""
        frame = self._checked(number)
        out = bytearray(most)
        try:
            length = cramjam.zstd.decompress_into(frame, out)
        except cramjam.DecompressionError as error:
            raise CorruptData(f"{self._place}: frame {number} does not unpack: {error}") from error
        return bytes(out[:length])

    def _checked(self, number: int) -> bytes:
        size, crc = _FRAME.unpack_from(self._data, _HEAD.size + number * _FRAME.size)
        start = _HEAD.size + self._count * _FRAME.size + _CRC.size + int(self._sizes(number).sum())
        frame = bytes(self._data[start : start + size])
        if len(frame) != size or zlib.crc32(frame) != crc:
            raise CorruptData(f"{self._place}: frame {number} of packed samples is damaged")
        return frame


def _unshuffled(data: bytes, at: int, count: int, steps: int, width: int) -> NDArray[np.unsignedinteger[Any]]:
    """Return `[count, steps]` numbers of `width` bytes that `_shuffled` wrote at `at`. Raises ValueError if cut off."""
    planes = np.frombuffer(data, np.uint8, count * steps * width, at).reshape(width, count * steps)
    return np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(count, steps)
