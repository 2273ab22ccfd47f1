"""Remote-write requests from rows. The bytes that are equal in all rows of a layout are made once.

A `TimeSeries` with one sample has its labels, then value and timestamp at fixed places. So the bytes of a row are a
template with gaps. A request is a sequence of rows, because protobuf joins repeated fields (see remote_write_codec for
the messages).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from cramjam import snappy
from numpy.typing import NDArray

from collectors.samples import FloatArray, Series
from controlplane.metrics.arrays import STALE_BITS
from controlplane.varint import varint

Bytes = NDArray[np.uint8]


def encoded_labels(series: Series) -> bytes:
    """Return a series' `Label` messages, sorted by name, `__name__` among them."""
    pairs = sorted((("__name__", series.name), *series.labels))
    return b"".join(_field(0x0A, _field(0x0A, k.encode()) + _field(0x12, v.encode())) for k, v in pairs)


class _Made(NamedTuple):
    """A row's bytes with gaps, the start of each series [series + 1], and the gaps' positions [series, bytes]."""

    bytes: Bytes
    starts: NDArray[np.intp]
    values: NDArray[np.intp]
    times: NDArray[np.intp]


class RowTemplate:
    """A template for the rows of one set of series."""

    def __init__(self, labels: Sequence[bytes]) -> None:
        """`labels` has the `encoded_labels` of each series."""
        self._labels = tuple(labels)
        self._made: dict[int, _Made] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def write(self, timestamp_ms: int, values: FloatArray) -> tuple[memoryview, NDArray[np.intp]]:
        """Return the bytes of a row of `values` [series], and the index at which each series begins, [series + 1]."""
        time = varint(timestamp_ms)
        if len(time) not in self._made:
            self._made[len(time)] = self._make(len(time))
        made = self._made[len(time)]
        row = made.bytes.copy()
        row[made.values] = values.view(np.uint8).reshape(-1, 8)
        row[made.times] = np.frombuffer(time, np.uint8)
        return row.data, made.starts

    def _make(self, time_bytes: int) -> _Made:
        sample = bytes((0x12, 10 + time_bytes, 0x09)) + bytes(8) + b"\x10" + bytes(time_bytes)
        parts = [_field(0x0A, labels + sample) for labels in self._labels]
        ends = np.cumsum([len(part) for part in parts], dtype=np.intp)
        starts = np.concatenate((np.zeros(1, np.intp), ends))
        holes = (ends - time_bytes - 9)[:, None]
        values, times = holes + np.arange(8), holes + np.arange(9, 9 + time_bytes)
        return _Made(np.frombuffer(b"".join(parts), np.uint8), starts, values, times)


def compressed(parts: Sequence[bytes | memoryview]) -> bytes:
    """Return parts of rows as the compressed body of a request."""
    return bytes(snappy.compress_raw(b"".join(parts)))


def stale_values(count: int) -> FloatArray:
    """Return `count` staleness markers: float64 of shape [count]."""
    return np.full(count, STALE_BITS, dtype=np.uint64).view(np.float64)


def _field(tag: int, content: bytes) -> bytes:
    return struct.pack("B", tag) + varint(len(content)) + content
