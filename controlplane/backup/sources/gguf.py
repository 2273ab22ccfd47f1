"""Places of the tensors of a GGUF file: magic, version, counts, key-value pairs, tensor infos, aligned data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
_ARCHITECTURE: Final = b"general.architecture"
_FILE_TYPE: Final = b"general.file_type"
_U32: Final = 4
_MOST_DIMENSIONS: Final = 8
"""GGML has four. More are no header, and each would cost a read."""


_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""Names of `general.file_type`. Source: llama.cpp's include/llama.h, enum llama_ftype."""
_TEXT_LIMIT: Final = 200


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


@dataclass(frozen=True)
class GgufFacts:
    """Facts from the header of a GGUF file."""

    tensors: int
    parameters: int
    """Number of elements of all tensors."""
    architecture: str = ""
    file_type: str = ""
    """Quantisation of most tensors, such as Q4_K_M."""


@dataclass
class _Read:
    """A header that was read whole: where data begins, offsets and sizes of tensors, and two values."""

    data: int
    offsets: list[int]
    elements: int
    architecture: str = ""
    file_type: str = ""


def gguf_tensors(size: int, read_at: Callable[[int, int], bytes]) -> list[int] | None:
    """Return the offsets in the file at which a tensor begins, ascending. None: it is no such file, or not whole."""
    found = _whole_header(size, read_at)
    if found is None:
        return None
    places = sorted(found.data + offset for offset in found.offsets)
    return places if places and places[-1] <= size else None


def gguf_facts(size: int, read_at: Callable[[int, int], bytes]) -> GgufFacts | None:
    """Return the facts of a file. None: it is no such file, or its header is not whole."""
    found = _whole_header(size, read_at)
    if found is None:
        return None
    return GgufFacts(len(found.offsets), found.elements, found.architecture, found.file_type)


def _whole_header(size: int, read_at: Callable[[int, int], bytes]) -> _Read | None:
    header = _Header(size, read_at)
    try:
        if header.take(4) != MAGIC or header.u32() not in VERSIONS:
            return None
        tensors, pairs = header.u64(), header.u64()
        alignment, architecture, file_type = 32, "", ""
        for _ in range(pairs):
            key, kind = header.string(), header.u32()
            if key == _ARCHITECTURE and kind == _STRING:
                architecture = header.string()[:_TEXT_LIMIT].decode("utf-8", "replace")
                continue
            value = header.value(kind)
            if key == _ALIGNMENT.encode() and kind == _U32:
                alignment = max(1, int.from_bytes(value, "little"))
            elif key == _FILE_TYPE and kind == _U32:
                number = int.from_bytes(value, "little")
                file_type = _FILE_TYPES.get(number, f"type {number}")
        rows = [_tensor(header) for _ in range(tensors)]
    except (_Malformed, RecursionError):
        return None
    data = -(-header.offset // alignment) * alignment
    return _Read(data, [offset for offset, _ in rows], sum(count for _, count in rows), architecture, file_type)


def _tensor(header: _Header) -> tuple[int, int]:
    """Read one tensor info and return the offset of its data, and its number of elements."""
    header.string()
    dimensions = header.u32()
    if dimensions > _MOST_DIMENSIONS:
        raise _Malformed
    count = 1
    for _ in range(dimensions):
        count *= header.u64()
    header.skip(4)
    return header.u64(), count
