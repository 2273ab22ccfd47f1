"""Opens a folder of an earlier run: reads the journal, checks the rows, and gives the rest of the store what is there.

What a crash tore is cut off and said in the log: the journal's tail, the last rows of a chunk. What lies behind it in
other files is used. Files that nothing refers to any more are deleted.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import Chunk, PackedChunk, words_of
from controlplane.metrics.storage.errors import CorruptData, StorageError
from controlplane.metrics.storage.folder import Folder, lock_folder
from controlplane.metrics.storage.journal import Journal, Kind, Record, records
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.records import Description, PackedPlace, Pairs, Place, decode, decode_layout

log = logging.getLogger(__name__)

_JOURNAL = re.compile(r"journal\.(\d{1,18})")
_DATA = re.compile(r"(\d{8,18})\.(arena|raw|rec)")

Register = Callable[[Description, bytes], Block]
"""Takes in a layout and its digest; returns its block."""


@dataclass
class Contents:
    """What a journal says is there, in the order in which it says it."""

    layouts: dict[int, tuple[Description, bytes, Record]] = field(default_factory=dict)
    """Layout, its digest, and its record, by layout number."""
    places: dict[int, Place] = field(default_factory=dict)
    """Of chunks in arenas, by chunk number."""
    packed: dict[int, PackedPlace] = field(default_factory=dict)
    end: int = 0
    """Where the last whole record ends."""

    def take(self, record: Record, pairs: Pairs) -> None:
        """Take in one record. Raises CorruptData."""
        if record.kind == Kind.LAYOUT:
            description, key = decode_layout(record.payload, pairs)
            self.layouts[description.number] = description, key, record
        elif record.kind == Kind.CHUNK:
            place = Place(*decode(record.payload))
            self.places[place.chunk] = place
        elif record.kind == Kind.PACKED:
            packed = PackedPlace(*decode(record.payload))
            self.places.pop(packed.chunk, None)
            self.packed[packed.chunk] = packed
        elif record.kind == Kind.GONE:
            chunks, layouts = decode(record.payload)
            for number in chunks:
                self.places.pop(number, None)
                self.packed.pop(number, None)
            for number in layouts:
                self.layouts.pop(number, None)
        self.end = record.end


def read_journal(data: bytes, pairs: Pairs, place: str) -> Contents:
    """Return what a journal's bytes say; a record that cannot be read is left out, and said."""
    contents = Contents()
    for record in records(data):
        try:
            contents.take(record, pairs)
        except (CorruptData, TypeError, ValueError) as error:
            log.warning("metrics: %s: a record at byte %d is left out: %s", place, record.start, error)
            contents.end = record.end
    return contents


def open_folder(path: Path, register: Register) -> Folder:
    """Open a folder, or make it, and give `register` every layout of earlier runs, with its rows.

    Raises StorageError when it cannot be used, StorageLocked when another process uses it.
    """
    folder = Folder(path, lock_folder(path))
    try:
        _open(folder, register)
    except OSError as error:
        raise StorageError(f"{path}: metrics of earlier runs cannot be read: {error}") from error
    return folder


def _open(folder: Folder, register: Register) -> None:
    journal = folder.journal = Journal(_only_journal(folder.path))
    data = journal.read()
    contents = read_journal(data, Pairs(), str(journal.path))
    if contents.end < len(data):
        log.warning("metrics: %s: the last %d bytes are torn and were cut off", journal.path, len(data) - contents.end)
        journal.truncate(contents.end)
    chunks: dict[int, list[AnyChunk]] = defaultdict(list)
    _open_arenas(folder, contents, chunks)
    _open_files(folder, contents, chunks)
    for number, (description, key, record) in contents.layouts.items():
        folder.layouts[number] = record.start, record.end
        block = register(description, key)
        for chunk in sorted(chunks.pop(number, []), key=lambda chunk: chunk.first_ms):
            block.add(chunk)
    if chunks:
        log.warning("metrics: %s: rows of %d unknown layouts are left out", journal.path, len(chunks))
    _remove_others(folder)


def newest_journal(path: Path) -> Path | None:
    """Return the journal that counts; None if there is none. Raises OSError."""
    found = [(int(match[1]), file) for file in path.iterdir() if (match := _JOURNAL.fullmatch(file.name))]
    return max(found)[1] if found else None


def _only_journal(path: Path) -> Path:
    """Return the journal that counts; older ones, and drafts of new ones, are deleted."""
    newest = newest_journal(path) or path / "journal.1"
    for file in path.glob("journal.*"):
        if file != newest:
            file.unlink()
    return newest


def _open_arenas(folder: Folder, contents: Contents, chunks: dict[int, list[AnyChunk]]) -> None:
    by_arena: dict[int, list[Place]] = defaultdict(list)
    for place in contents.places.values():
        by_arena[place.arena].append(place)
    torn = 0
    for number, places in sorted(by_arena.items()):
        path = folder.path / f"{number:08}.arena"
        try:
            arena = Arena.open(number, path, writable=True)
        except OSError as error:
            log.warning("metrics: %s cannot be read (%s): its %d chunks are lost", path, error, len(places))
            continue
        found = [chunk for place in places if (chunk := _chunk(folder, arena, place, contents)) is not None]
        torn += sum(_mended(chunk) for chunk in found)
        for chunk in found:
            if chunk.count:
                chunks[contents.places[chunk.number].layout].append(chunk)
        arena.live = sum(1 for chunk in found if chunk.count)
        if arena.live:
            folder.arenas.adopt(arena, sum(chunk.nbytes for chunk in found if chunk.count))
    if torn:
        log.warning("metrics: %s: %d rows were torn by a crash and were cut off", folder.path, torn)


def _chunk(folder: Folder, arena: Arena, place: Place, contents: Contents) -> Chunk | None:
    folder.skip_chunk(place.chunk)
    known = contents.layouts.get(place.layout)
    if known is None:
        return None
    columns = known[0].columns
    if place.capacity <= 0 or place.at < 0 or place.at + words_of(place.capacity, columns) > len(arena.words):
        log.warning("metrics: %s: chunk %d does not fit and is left out", arena.path, place.chunk)
        return None
    return Chunk(place.chunk, arena, place.at, place.capacity, columns)


def _mended(chunk: Chunk) -> int:
    """Cut torn rows off; return how many."""
    claimed = int(chunk.arena.words[chunk.at])
    sound = chunk.sound_rows()
    if sound == claimed:
        return 0
    chunk.cut_off(sound)
    return max(1, claimed - sound) if 0 <= claimed <= chunk.capacity else 1


def _open_files(folder: Folder, contents: Contents, chunks: dict[int, list[AnyChunk]]) -> None:
    lost = 0
    for place in sorted(contents.packed.values(), key=lambda place: (place.file, place.offset)):
        folder.skip_chunk(place.chunk)
        file = folder.files.get(place.file) or _found_file(folder, place.file)
        if file is None:
            lost += 1
            continue
        try:
            packed = file.packed(place.offset, place.size, f"chunk {place.chunk}")
        except CorruptData as error:
            log.warning("metrics: %s: it is left out", error)
            continue
        folder.adopt_packed(file, place, packed.first_ms, packed.last_ms)
        chunks[place.layout].append(PackedChunk(place.chunk, packed, place.file, place.offset))
    if lost:
        log.warning("metrics: %s: %d packed chunks are lost: their files are not there", folder.path, lost)
    for file in folder.files.values():
        file.cut_to(file.end)


def _found_file(folder: Folder, number: int) -> PackFile | None:
    for kind in ("raw", "rec"):
        path = folder.path / f"{number:08}.{kind}"
        if path.exists():
            return folder.adopt_file(PackFile(number, path, recorded=kind == "rec"))
    return None


def _remove_others(folder: Folder) -> None:
    """Delete data files that nothing refers to, and never use their numbers again."""
    for file in folder.path.iterdir():
        match = _DATA.fullmatch(file.name)
        if match is None:
            continue
        number = int(match[1])
        if match[2] == "arena":
            folder.arenas.skip(number)
            if number not in folder.arenas.used:
                file.unlink()
        elif number not in folder.files:
            folder.skip_file(number)
            file.unlink()
