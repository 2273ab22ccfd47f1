"""A pack: many sealed chunks and a sealed table of them, in one immutable object.

    header 64 | sealed chunk 0 | sealed chunk 1 | … | zeros | sealed table | footer 16

The table has one row of 56 bytes for each chunk. The footer holds the offset and the length of the sealed table, and a
magic. Zeros before the table make the pack a multiple of 4,096 bytes, so that it can be written without the page cache.
A pack's name is the BLAKE3 of all its bytes, in hex.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from controlplane.backup.direct import ALIGNED
from controlplane.backup.errors import Damaged
from controlplane.backup.format.buffers import Buffer
from controlplane.backup.format.envelope import (
    HEADER_BYTES,
    TAG_BYTES,
    Kind,
    Sealer,
    Secrets,
    new_envelope,
    open_envelope,
)

PACK_BYTES: Final = 64 << 20
"""Size that a pack grows to, in bytes. Reference: Xet's xorbs are 64 MiB; 16,000 packs hold 1 TB."""
CHUNK_LIMIT: Final = 4 << 20
"""Largest chunk in bytes. Chosen: 0.24 million table rows for 1 TB, and 4 MiB is read as fast as more."""
CHUNKS_IN_A_PACK: Final = 8192
"""Most chunks in a pack, so that its table stays below 0.5 MB. Xet has the same limit."""
FOOTER_BYTES: Final = 16
_FOOTER = struct.Struct("<QI4s")
_FOOTER_MAGIC = b"KCAP"
_TABLE_COUNTER = (1 << 32) - 1
"""Counter of the table's nonce. No chunk has it: a pack has at most 8,192."""

ROW = np.dtype(
    [
        ("id", "V32"),
        ("offset", "<u8"),
        ("stored", "<u4"),
        ("size", "<u4"),
        ("codec", "u1"),
        ("free", "V1"),
        ("number", "<u2"),
        ("pack", "<u4"),
    ]
)
"""One row of a table, 56 bytes: id, offset of the sealed chunk in the pack, its length with the tag, the length of the
chunk itself, its codec, its number in the pack, and in an index the number of the pack (in a pack's own table 0)."""
Rows = npt.NDArray[np.void]


class PackBuilder:
    """Fills one pack in a buffer that is used again for the next pack. Not for use by two threads."""

    def __init__(self, buffer: memoryview, secrets: Secrets) -> None:
        """`buffer` has at least `buffer_bytes()` bytes and is written from its beginning."""
        self._buffer, self._secrets = buffer, secrets
        self._rows: Rows = np.zeros(CHUNKS_IN_A_PACK, ROW)
        self._begin()

    @staticmethod
    def buffer_bytes() -> int:
        """Return the size of a buffer that holds any pack, in bytes; a multiple of 4,096."""
        table = CHUNKS_IN_A_PACK * ROW.itemsize + TAG_BYTES + FOOTER_BYTES
        return _aligned(HEADER_BYTES + PACK_BYTES + CHUNK_LIMIT + TAG_BYTES + table + ALIGNED)

    @property
    def count(self) -> int:
        """Number of chunks in the pack so far."""
        return self._count

    @property
    def full(self) -> bool:
        """Whether the pack should be finished before the next chunk."""
        return self._end >= PACK_BYTES or self._count >= CHUNKS_IN_A_PACK

    def add(self, identity: bytes, data: Buffer, size: int, codec: int) -> None:
        """Seal a chunk, compressed or not, into the pack. `size` is the length of the chunk itself."""
        if not self._count:
            self._buffer[:HEADER_BYTES] = self._header
        stored = len(data) + TAG_BYTES
        out = self._buffer[self._end : self._end + stored]
        self._sealer.seal_into(self._count, data, identity, out)
        row = self._rows[self._count]
        row["id"], row["offset"], row["stored"] = np.void(identity), self._end, stored
        row["size"], row["codec"], row["number"] = size, codec, self._count
        self._count += 1
        self._end += stored

    def finish(self) -> tuple[str, memoryview, Rows]:
        """Return name, bytes and table of the pack, and begin the next one.

        The bytes are part of the buffer: the caller uses them before the next `add`. The pack has at least one chunk.
        """
        assert self._count
        rows = self._rows[: self._count].copy()
        table = rows.tobytes()
        length = len(table) + TAG_BYTES
        total = _aligned(self._end + length + FOOTER_BYTES)
        begin = total - FOOTER_BYTES - length
        self._buffer[self._end : begin] = bytes(begin - self._end)
        self._sealer.seal_into(_TABLE_COUNTER, table, b"table", self._buffer[begin : begin + length])
        self._buffer[total - FOOTER_BYTES : total] = _FOOTER.pack(begin, length, _FOOTER_MAGIC)
        pack = self._buffer[:total]
        name = blake3(pack).hexdigest()
        self._begin()
        return name, pack, rows

    def _begin(self) -> None:
        header, self._sealer = new_envelope(Kind.PACK, self._secrets)
        # The buffer still holds the pack that `finish` returned: the first `add` writes the header.
        self._header, self._count, self._end = header, 0, HEADER_BYTES


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def table_place(name: str, size: int, tail: Buffer) -> tuple[int, int]:
    """Return offset and length of the sealed table of a pack of `size` bytes, from its last bytes. Raises Damaged."""
    if size < HEADER_BYTES + TAG_BYTES + FOOTER_BYTES or len(tail) < FOOTER_BYTES:
        raise Damaged(f"pack {name}", f"it has only {size} bytes")
    offset, length, magic = _FOOTER.unpack(bytes(tail[-FOOTER_BYTES:]))
    if magic != _FOOTER_MAGIC or offset < HEADER_BYTES or offset + length + FOOTER_BYTES != size:
        raise Damaged(f"pack {name}", "its end is not the end of a pack; it may be cut off")
    return offset, length


class PackReader:
    """Opens the table and chunks of one pack from bytes that the caller fetched. Safe for several threads."""

    def __init__(self, name: str, header: Buffer, secrets: Secrets) -> None:
        """Raises Damaged and NewerFormat when `header`, the pack's first 64 bytes, is not a pack's."""
        self.name = name
        self._sealer: Sealer = open_envelope(f"pack {name}", header, Kind.PACK, secrets)

    def table(self, sealed: Buffer) -> Rows:
        """Return the table, from its sealed bytes. Raises Damaged."""
        if len(sealed) < TAG_BYTES or (len(sealed) - TAG_BYTES) % ROW.itemsize:
            raise Damaged(f"pack {self.name}", f"its table has {len(sealed)} bytes")
        out = bytearray(len(sealed) - TAG_BYTES)
        if not self._sealer.open_into(_TABLE_COUNTER, sealed, b"table", memoryview(out)):
            raise Damaged(f"pack {self.name}", "its table does not match its seal")
        return np.frombuffer(bytes(out), ROW)

    def open_into(self, identity: bytes, number: int, sealed: Buffer, out: memoryview) -> None:
        """Write the chunk's bytes, compressed as they were stored, into `out`. Raises Damaged."""
        if not self._sealer.open_into(number, sealed, identity, out):
            raise Damaged(f"pack {self.name}", f"chunk {identity.hex()} does not match its seal")
