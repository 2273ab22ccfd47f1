"""Places of the tensors of a GGUF file: magic, version, counts, key-value pairs, tensor infos, aligned data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
WINDOW: Final = 1 << 20
HEADER_LIMIT: Final = 256 << 20
"""Largest header that is read, in bytes. Vocabularies of 256,000 tokens take some 10 MB."""
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by the number of its type; 8 is a string, 9 an array."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT: Final = "general.alignment"


class _Malformed(Exception):
    """The bytes are not a GGUF header."""


class _Header:
    """Reads forward over the header."""

    def __init__(self, size: int, read_at: Callable[[int, int], bytes]) -> None:
        self._size, self._read_at = size, read_at
        self.offset, self._window, self._begin = 0, b"", 0

    def take(self, length: int) -> bytes:
        if length < 0 or self.offset + length > min(self._size, HEADER_LIMIT):
            raise _Malformed
        if not self._begin <= self.offset <= self.offset + length <= self._begin + len(self._window):
            self._begin, self._window = self.offset, self._read_at(self.offset, max(length, WINDOW))
        at = self.offset - self._begin
        self.offset += length
        data = self._window[at : at + length]
        if len(data) != length:
            raise _Malformed
        return data

    def skip(self, length: int) -> None:
        if length < 0 or self.offset + length > min(self._size, HEADER_LIMIT):
            raise _Malformed
        self.offset += length

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def string(self) -> bytes:
        return self.take(self.u64())

    def value(self, kind: int) -> bytes:
        """Return the bytes of a value of a plain type; of a string or an array skip it and return b""."""
        if kind in _SIZES:
            return self.take(_SIZES[kind])
        if kind == _STRING:
            self.skip(self.u64())
        elif kind == _ARRAY:
            inner, count = self.u32(), self.u64()
            if inner in _SIZES:
                self.skip(_SIZES[inner] * count)
            else:
                for _ in range(count):
                    self.value(inner)
        else:
            raise _Malformed
        return b""


def gguf_tensors(size: int, read_at: Callable[[int, int], bytes]) -> list[int] | None:
    """Return the offsets in the file at which a tensor begins, ascending. None: it is no such file, or not whole."""
    header = _Header(size, read_at)
    try:
        if header.take(4) != MAGIC or header.u32() not in VERSIONS:
            return None
        tensors, pairs = header.u64(), header.u64()
        alignment = 32
        for _ in range(pairs):
            key, kind = header.string(), header.u32()
            value = header.value(kind)
            if key == _ALIGNMENT.encode() and kind == 4:
                alignment = max(1, int.from_bytes(value, "little"))
        offsets = [_tensor(header) for _ in range(tensors)]
    except (_Malformed, RecursionError):
        return None
    data = -(-header.offset // alignment) * alignment
    places = sorted(data + offset for offset in offsets)
    return places if places and places[-1] <= size else None


def _tensor(header: _Header) -> int:
    """Read one tensor info and return the offset of its data."""
    header.string()
    dimensions = header.u32()
    header.skip(8 * dimensions + 4)
    return header.u64()
