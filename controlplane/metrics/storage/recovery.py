"""Opens a folder of an earlier run: reads the journal, checks the rows, and registers layouts and chunks in the store.

Rows that a crash tore or a disk damaged are left out and logged, with file and place. All other rows are used. Lost
chunks are recorded as dropped in the journal, so that their numbers are never taken for newer chunks. A file that
cannot be read now is left alone, and so are its records: the next start may be able to read it. Files that no record
refers to are deleted.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from collectors.exposition.interner import Interner
from controlplane.metrics.storage.arena import Arena, arena_path
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import Chunk, PackedChunk, words_of
from controlplane.metrics.storage.eras import Era, Eras
from controlplane.metrics.storage.errors import CorruptData, StorageError
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.storage.journal import Journal, Kind, Record, damage, records
from controlplane.metrics.storage.lock import lock_folder
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.records import Description, PackedPlace, Place, decode, decode_layout

log = logging.getLogger(__name__)

_JOURNAL = re.compile(r"journal\.(\d{1,18})")
_DATA = re.compile(r"(\d{8,18})\.(arena|raw|rec)")

Register = Callable[[Description, bytes], Block]
"""A function that registers a layout and its digest, and returns its block."""


@dataclass
class Contents:
    """Contents of a journal: the layouts, chunks and eras that exist, in the order of their records."""

    layouts: dict[int, tuple[Description, bytes, Record]] = field(default_factory=dict)
    """Each layout with its digest and its record, by layout number."""
    places: dict[int, Place] = field(default_factory=dict)
    """Places of the chunks in arenas, by chunk number."""
    packed: dict[int, PackedPlace] = field(default_factory=dict)
    eras: list[Era] = field(default_factory=list)
    last_chunk: int = 0
    last_layout: int = 0
    """Highest numbers of chunks and layouts that were ever used, dropped ones included."""

    def take(self, record: Record, interner: Interner) -> None:
        """Apply one record. Raises CorruptData when it is damaged."""
        if record.kind == Kind.LAYOUT:
            description, key = decode_layout(record.payload, interner)
            self.layouts[description.number] = description, key, record
            self.last_layout = max(self.last_layout, description.number)
        elif record.kind == Kind.CHUNK:
            place = Place(*decode(record.payload))
            self.places[place.chunk] = place
            self.last_chunk = max(self.last_chunk, place.chunk)
        elif record.kind == Kind.PACKED:
            packed = PackedPlace(*decode(record.payload))
            self.places.pop(packed.chunk, None)
            self.packed[packed.chunk] = packed
            self.last_chunk = max(self.last_chunk, packed.chunk)
        elif record.kind == Kind.ERA:
            self.eras.append(Era(*decode(record.payload)))
        elif record.kind == Kind.GONE:
            chunks, layouts = decode(record.payload)
            for number in chunks:
                self.places.pop(number, None)
                self.packed.pop(number, None)
            for number in layouts:
                self.layouts.pop(number, None)

    def superseded(self) -> list[int]:
        """Remove layouts that a later layout of the same source equals, and return their numbers.

        Such a layout should have been dropped.
        """
        newest = {(known.source, key): number for number, (known, key, _) in sorted(self.layouts.items())}
        older = [n for n, (known, key, _) in self.layouts.items() if newest[known.source, key] != n]
        for number in older:
            del self.layouts[number]
        return older


def read_journal(data: bytes, interner: Interner, place: str) -> Contents:
    """Return the contents of a journal's bytes. A record that cannot be read is left out and logged."""
    contents = Contents()
    for record in records(data):
        try:
            contents.take(record, interner)
        except (CorruptData, TypeError, ValueError) as error:
            log.warning("metrics: %s: a record at byte %d is left out: %s", place, record.start, error)
    return contents


def open_folder(path: Path, register: Register, eras: Eras) -> Folder:
    """Open a folder, or make it. Pass every layout of earlier runs to `register`, and add their eras to `eras`.

    Raises StorageError when the folder cannot be used, StorageLocked when another process uses it.
    """
    folder = Folder(path, lock_folder(path))
    try:
        _Opening(folder).open(register, eras)
    except OSError as error:
        folder.close()
        raise StorageError(f"{path}: metrics of earlier runs cannot be read: {error}") from error
    return folder


def newest_journal(path: Path) -> Path | None:
    """Return the valid journal, which has the highest number, or None. Raises OSError when the folder is unreadable."""
    found = [(int(match[1]), file) for file in path.iterdir() if (match := _JOURNAL.fullmatch(file.name))]
    return max(found)[1] if found else None


def _only_journal(path: Path) -> Path:
    """Return the valid journal. Delete older journals and drafts of new ones."""
    newest = newest_journal(path) or path / "journal.1"
    for file in path.glob("journal.*"):
        if file != newest:
            file.unlink()
    return newest


def _mended(journal: Journal) -> bytes:
    """Repair the journal and return its bytes, which are whole records. A torn tail is cut off, damage is masked."""
    data = journal.read()
    stretches = damage(data)
    for start, end in stretches:
        if end == len(data):
            log.warning("metrics: %s: the last %d bytes are torn and were cut off", journal.path, end - start)
            journal.truncate(start)
        else:
            log.warning("metrics: %s: %d bytes from byte %d on are damaged", journal.path, end - start, start)
            journal.mask(start, end)
    return journal.read() if stretches else data


class _Opening:
    """One opening of one folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._contents = Contents()
        self._chunks: dict[int, list[AnyChunk]] = defaultdict(list)
        """Chunks that were found, by layout number."""
        self._lost: list[int] = []
        """Numbers of chunks that are lost."""
        self._unknown = 0
        """Number of lost chunks whose layout is unknown."""
        self._unread: set[str] = set()
        """Names of files that cannot be read now. They are not deleted."""

    def open(self, register: Register, eras: Eras) -> None:
        folder = self._folder
        journal = folder.journal = Journal(_only_journal(folder.path))
        contents = self._contents = read_journal(_mended(journal), Interner(), str(journal.path))
        folder.skip_chunk(contents.last_chunk)
        folder.last_layout = contents.last_layout
        superseded = contents.superseded()
        for era in contents.eras:
            eras.add(era)
        self._open_arenas()
        self._open_files()
        for number, (description, key, record) in contents.layouts.items():
            folder.layouts[number] = record.start, record.end
            block = register(description, key)
            for chunk in sorted(self._chunks[number], key=lambda chunk: chunk.first_ms):
                if block.chunks and isinstance(block.chunks[-1], Chunk):
                    block.chunks[-1].sealed = True
                block.add(chunk)
        if self._unknown:
            log.warning("metrics: %s: %d chunks of unknown layouts are left out", journal.path, self._unknown)
        self._remove_others()
        folder.write_off(self._lost, superseded)

    def _columns(self, chunk: int, layout: int) -> int | None:
        """Return the number of columns of a chunk. If its layout is unknown, count it as lost and return None."""
        known = self._contents.layouts.get(layout)
        if known is None:
            self._unknown += 1
            self._lost.append(chunk)
            return None
        return known[0].columns

    def _open_arenas(self) -> None:
        by_arena: dict[int, list[Place]] = defaultdict(list)
        for place in self._contents.places.values():
            by_arena[place.arena].append(place)
        for number, places in sorted(by_arena.items()):
            self._folder.arenas.skip(number)
            path = arena_path(self._folder.path, number)
            try:
                arena = Arena.open(number, path, writable=True)
            except FileNotFoundError:
                log.warning("metrics: %s is not there: its %d chunks are lost", path, len(places))
                self._lost += [place.chunk for place in places]
                continue
            except OSError as error:
                log.warning("metrics: %s cannot be read (%s): %d chunks are left out", path, error, len(places))
                self._unread.add(path.name)
                continue
            self._adopt(arena, places)

    def _adopt(self, arena: Arena, places: list[Place]) -> None:
        torn, nbytes = 0, 0
        for place in places:
            columns = self._columns(place.chunk, place.layout)
            if columns is None:
                continue
            if place.capacity <= 0 or place.at < 0 or place.at + words_of(place.capacity, columns) > len(arena.words):
                log.warning("metrics: %s: chunk %d is cut off", arena.path, place.chunk)
                self._lost.append(place.chunk)
                continue
            chunk = Chunk(place.chunk, arena, place.at, place.capacity, columns)
            torn += chunk.mend()
            if not chunk.count:
                self._lost.append(place.chunk)
                continue
            self._chunks[place.layout].append(chunk)
            arena.live += 1
            nbytes += chunk.nbytes
        if torn:
            log.warning("metrics: %s: %d rows were torn by a crash, or damaged, and are left out", arena.path, torn)
        if arena.live:
            self._folder.arenas.adopt(arena, nbytes)

    def _open_files(self) -> None:
        folder = self._folder
        by_file: dict[int, list[PackedPlace]] = defaultdict(list)
        for place in self._contents.packed.values():
            by_file[place.file].append(place)
        for number, places in sorted(by_file.items()):
            folder.skip_file(number)
            file = PackFile.find(folder.path, number)
            if file is None:
                path = folder.path / f"{number:08}"
                log.warning("metrics: %s.raw is not there: its %d chunks are lost", path, len(places))
                self._lost += [place.chunk for place in places]
                continue
            try:
                file.map()
            except OSError as error:
                log.warning("metrics: %s cannot be read (%s): %d chunks are left out", file.path, error, len(places))
                self._unread.add(file.path.name)
                continue
            for place in sorted(places, key=lambda place: place.offset):
                self._open_packed(file, place)
            if file.live:
                folder.adopt_file(file)

    def _open_packed(self, file: PackFile, place: PackedPlace) -> None:
        columns = self._columns(place.chunk, place.layout)
        if columns is None:
            return
        try:
            packed = file.packed(place.offset, place.size, f"chunk {place.chunk}")
            if (packed.columns, packed.size) != (columns, place.size):
                raise CorruptData(f"{file.path}, chunk {place.chunk}: it is not what the journal says")
        except CorruptData as error:
            log.warning("metrics: %s: it is left out", error)
            self._lost.append(place.chunk)
            return
        self._folder.adopt_packed(file, place, packed.last_ms)
        self._chunks[place.layout].append(PackedChunk(place.chunk, packed, place.file, place.offset))

    def _remove_others(self) -> None:
        """Delete data files that no record refers to, and never use their numbers again."""
        folder = self._folder
        for path in folder.path.iterdir():
            match = _DATA.fullmatch(path.name)
            if match is None or path.name in self._unread:
                continue
            number = int(match[1])
            if match[2] == "arena":
                folder.arenas.skip(number)
                used = number in folder.arenas.used
            else:
                folder.skip_file(number)
                used = number in folder.files and folder.files[number].path == path
            if not used:
                path.unlink()
