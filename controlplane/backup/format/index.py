"""The index: in which pack each chunk is. It is derived from the packs' tables and can be made again from them.

A segment is one object: the number of packs, their names, then the rows of their tables with the pack's number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controlplane.backup.errors import Damaged
from controlplane.backup.format.envelope import Kind, Secrets, open_whole, seal_whole
from controlplane.backup.format.pack import ROW, Rows

_COUNT = struct.Struct("<I")


@dataclass(frozen=True)
class Segment:
    """The tables of some packs."""

    packs: tuple[str, ...]
    rows: Rows
    """Rows of all packs; `pack` is a position in `packs`."""


def segment_of(tables: Sequence[tuple[str, Rows]]) -> Segment:
    """Return the segment of these packs, from their names and tables."""
    parts = []
    for number, (_, rows) in enumerate(tables):
        part = rows.copy()
        part["pack"] = number
        parts.append(part)
    return Segment(tuple(name for name, _ in tables), np.concatenate(parts) if parts else np.empty(0, ROW))


def segment_bytes(segment: Segment, secrets: Secrets) -> bytes:
    """Return the sealed object of a segment."""
    names = b"".join(bytes.fromhex(name) for name in segment.packs)
    return seal_whole(Kind.INDEX, _COUNT.pack(len(segment.packs)) + names + segment.rows.tobytes(), secrets)


def read_segment(place: str, data: bytes, secrets: Secrets) -> Segment:
    """Return the segment of a sealed object. Raises Damaged and NewerFormat."""
    body = open_whole(place, data, Kind.INDEX, secrets)
    count = _COUNT.unpack_from(body)[0] if len(body) >= _COUNT.size else 0
    begin = _COUNT.size + 32 * count
    if len(body) < begin or (len(body) - begin) % ROW.itemsize:
        raise Damaged(place, f"its {len(body)} bytes do not fit {count} packs")
    names = tuple(body[at : at + 32].hex() for at in range(_COUNT.size, begin, 32))
    rows: Rows = np.frombuffer(body, ROW, offset=begin)
    if len(rows) and int(rows["pack"].max()) >= count:
        raise Damaged(place, f"a row names a pack beyond its {count} packs")
    return Segment(names, rows)


@dataclass(frozen=True)
class Place:
    """Place of one copy of a chunk."""

    pack: str
    number: int
    """Position of the chunk in the pack."""
    offset: int
    stored: int
    """Bytes in the pack, tag included."""
    size: int
    """Bytes of the chunk itself."""
    codec: int


class Index:
    """All chunks of all packs, in sorted arrays: 64 bytes a chunk. Reading is safe for several threads."""

    def __init__(self, segments: Iterable[Segment], missing: frozenset[tuple[str, bytes]] = frozenset()) -> None:
        """`missing` has the copies of chunks, (pack, id), that are known to be damaged: they are left out."""
        packs: dict[str, int] = {}
        parts: list[Rows] = []
        for segment in segments:
            fresh = [name not in packs for name in segment.packs]
            numbers = np.array([packs.setdefault(name, len(packs)) for name in segment.packs], "<u4")
            keep = segment.rows[np.array(fresh, bool)[segment.rows["pack"]]] if len(segment.rows) else segment.rows
            part = keep.copy()
            part["pack"] = numbers[keep["pack"]] if len(keep) else 0
            parts.append(part)
        rows: Rows = np.concatenate(parts) if parts else np.empty(0, ROW)
        self.packs = tuple(packs)
        keys = _prefixes(rows)
        order = np.argsort(keys, kind="stable")
        self._rows, self._keys, self._missing = rows[order], keys[order], missing

    def __len__(self) -> int:
        return len(self._rows)

    def copies(self, identity: bytes) -> Iterator[Place]:
        """Yield the places of all copies of a chunk that are not known to be damaged."""
        key = np.frombuffer(identity, ">u8", count=1).astype("<u8")[0]
        at = int(np.searchsorted(self._keys, key))
        while at < len(self._keys) and self._keys[at] == key:
            row = self._rows[at]
            at += 1
            if row["id"].tobytes() != identity:
                continue
            pack = self.packs[int(row["pack"])]
            if (pack, identity) not in self._missing:
                yield _place(pack, row)

    def find(self, identity: bytes) -> Place | None:
        """Return the place of a chunk, or None."""
        return next(self.copies(identity), None)

    def of_pack(self, name: str) -> Rows:
        """Return the rows of one pack in no order, damaged copies too."""
        try:
            number = self.packs.index(name)
        except ValueError:
            return np.empty(0, ROW)
        rows: Rows = self._rows[self._rows["pack"] == number]
        return rows


def _place(pack: str, row: np.void) -> Place:
    return Place(pack, int(row["number"]), int(row["offset"]), int(row["stored"]), int(row["size"]), int(row["codec"]))


def _prefixes(rows: Rows) -> npt.NDArray[np.uint64]:
    """Return the first 8 bytes of each id as a number, so that ids can be sorted and searched."""
    if not len(rows):
        return np.empty(0, np.uint64)
    ids = np.frombuffer(rows["id"].tobytes(), np.uint8).reshape(len(rows), 32)
    return np.ascontiguousarray(ids[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
