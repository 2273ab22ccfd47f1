"""Payloads of the journal's records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cramjam

from collectors.exposition.interner import Interner
from collectors.exposition.packed_series import packed
from collectors.samples import Labels, Layout, Metadata, Series, View
from controlplane.metrics.storage.errors import CorruptData

LEVEL = 1


class Place(NamedTuple):
    """A chunk that was cut from an arena."""

    chunk: int
    layout: int
    arena: int
    at: int
    capacity: int


class PackedPlace(NamedTuple):
    """A chunk that was packed. If it had a place in an arena, that place is free."""

    chunk: int
    layout: int
    file: int
    offset: int
    size: int


class Switch(NamedTuple):
    """A source's rows go to another layout from now on."""

    layout: int


class Gone(NamedTuple):
    """Chunks and layouts that were dropped, by number. A layout is dropped with all its chunks."""

    chunks: tuple[int, ...] = ()
    layouts: tuple[int, ...] = ()


class Moved(NamedTuple):
    """The journal goes on in the file `journal.<generation>`. Its first `snapshot` bytes repeat all valid records."""

    generation: int
    snapshot: int


@dataclass(frozen=True)
class Description:
    """One layout of one source: its series and their columns."""

    number: int
    source: str
    layout: Layout
    refused: tuple[int, ...] = ()
    """Positions (raw columns, then views) of refused series: beyond a limit, or duplicates."""
    era: int = 0
    """Era of the layout's rows; see eras.py."""

    @property
    def columns(self) -> int:
        """Number of values in a row."""
        return len(self.layout.raw)


def layout_body(layout: Layout) -> bytes:
    """Return a layout's series as bytes. Equal layouts have equal bytes."""
    raw = [[s.name, *(text for pair in s.labels for text in pair)] for s in layout.raw]
    views = [[v.series.name, v.columns, v.factor, *(t for pair in v.series.labels for t in pair)] for v in layout.views]
    # A label value from a JSON file may hold a lone surrogate; json.loads takes it back.
    return json.dumps([raw, views], ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def digest(body: bytes, era: int = 0) -> bytes:
    """Return a digest of a layout's body and its era. A source has new blocks in each era."""
    return hashlib.blake2b(body, digest_size=16, salt=era.to_bytes(16, "little")).digest()


def encode_layout(described: Description, body: bytes) -> bytes:
    """Return the payload of a layout record. `body` is the `layout_body` of its layout."""
    metadata = {name: [m.type, m.help] for name, m in described.layout.metadata.items()}
    fields = [described.number, described.source, list(described.refused), metadata, described.era]
    head = json.dumps(fields, ensure_ascii=False).encode(errors="surrogatepass")
    return bytes(cramjam.zstd.compress(len(head).to_bytes(4, "little") + head + body, LEVEL))


def decode_layout(payload: bytes, interner: Interner) -> tuple[Description, bytes]:
    """Return a packed layout and its digest. `interner` shares equal parts of layouts.

    Raises CorruptData when the payload is damaged.
    """
    try:
        data = bytes(cramjam.zstd.decompress(payload))
        size = 4 + int.from_bytes(data[:4], "little")
        number, source, refused, metadata, *more = json.loads(data[4:size])
        era = int(more[0]) if more else 0  # records of releases without eras have none
        raw, views = json.loads(data[size:])
        layout = Layout(
            tuple([Series(name, _labels(labels)) for name, *labels in raw]),
            tuple(
                [
                    View(Series(name, _labels(labels)), interner.shared(tuple(columns)), factor)
                    for name, columns, factor, *labels in views
                ]
            ),
            interner.metadata({name: Metadata(*words) for name, words in metadata.items()}),
        )
    except (ValueError, TypeError, cramjam.DecompressionError) as error:
        raise CorruptData(f"a layout record is damaged: {error}") from error
    return Description(number, source, packed(layout, interner), tuple(refused), era), digest(data[size:], era)


def _labels(words: Sequence[str]) -> Labels:
    return tuple(zip(words[::2], words[1::2], strict=True))


def encode(record: tuple[Any, ...]) -> bytes:
    """Return the payload of any other record."""
    return json.dumps(record, separators=(",", ":")).encode()


def decode(payload: bytes) -> list[Any]:
    """Return the fields of any other record. Raises CorruptData when the payload is damaged."""
    try:
        fields = json.loads(payload)
    except ValueError as error:
        raise CorruptData(f"a journal record is damaged: {error}") from error
    if not isinstance(fields, list):
        raise CorruptData("a journal record is damaged")
    return fields
