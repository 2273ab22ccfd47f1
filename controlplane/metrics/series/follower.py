"""Reads a series store's files while another process writes them.

A follower reads the journal as it grows. It sees a row in the shared pages as soon as the chunk's count includes it. It
locks nothing and writes nothing: a follower that dies or hangs does not affect the writer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from collectors.exposition.interner import Interner
from controlplane.metrics.series.layout_series import names_of
from controlplane.metrics.series.store_reader import LOCK_FREE_READS, Answer, StoreReader
from controlplane.metrics.storage.arena import Arena, arena_path
from controlplane.metrics.storage.block import Block
from controlplane.metrics.storage.chunk import Chunk, PackedChunk, words_of
from controlplane.metrics.storage.eras import Era
from controlplane.metrics.storage.errors import CorruptData, Overtaken, StorageError
from controlplane.metrics.storage.journal import Kind, Record, records
from controlplane.metrics.storage.packfile import PackFile
from controlplane.metrics.storage.records import PackedPlace, Place, decode, decode_layout
from controlplane.metrics.storage.recovery import newest_journal

READ_BYTES = 16 * 2**20
"""Bytes of the journal in one read. Chosen."""


class Follower(StoreReader):
    """A store that another process writes. May be used from several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Read the files in `folder`. Blocking. Raises StorageError when there is no store."""
        super().__init__()
        self._folder, self._interner = folder, Interner()
        self._arenas: WeakValueDictionary[int, Arena] = WeakValueDictionary()
        self._files: dict[int, PackFile] = {}
        self._block_of: dict[int, Block] = {}
        """Block of each chunk, by chunk number."""
        self._following = threading.Lock()
        path = newest_journal(folder)
        if path is None:
            raise StorageError(f"{folder}: there is no journal of metrics here")
        self._journal, self._at, self._rest = os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0, b""
        self.follow()

    def close(self) -> None:
        """Close the journal."""
        os.close(self._journal)

    def _steady(self, look: Callable[[], Answer]) -> Answer:
        self.follow()
        for _ in range(LOCK_FREE_READS):
            answer = look()
            if not self.follow():
                return answer
        # Layouts change faster than a read. The answer may lack a series that changed its block during the read.
        return answer

    def follow(self) -> bool:
        """Read the new records of the journal. Return whether a layout or the era changed.

        Raises Overtaken when the journal was rewritten more than once since the last call.
        """
        switched = False
        with self._following:
            while data := os.pread(self._journal, READ_BYTES, self._at + len(self._rest)):
                data = self._rest + data
                end = 0
                for record in records(data):
                    end = record.end
                    switched |= record.kind in (Kind.LAYOUT, Kind.SWITCH, Kind.ERA)
                    if record.kind == Kind.MOVED:
                        end = 0
                        data = b""
                        self._move(*decode(record.payload))
                        break
                    self._take(record)
                self._at += end
                self._rest = data[end:]
        return switched

    def _move(self, generation: int, snapshot: int) -> None:
        """Go on in the journal's next file, after its first `snapshot` bytes. They repeat known records."""
        try:
            fresh = os.open(self._folder / f"journal.{generation}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise Overtaken(f"{self._folder}: journal {generation} of the metrics is gone already") from error
        os.close(self._journal)
        self._journal, self._at = fresh, snapshot

    def _take(self, record: Record) -> None:
        try:
            if record.kind == Kind.LAYOUT:
                self._describe(record.payload)
            elif record.kind == Kind.CHUNK:
                self._place(Place(*decode(record.payload)))
            elif record.kind == Kind.PACKED:
                self._pack(PackedPlace(*decode(record.payload)))
            elif record.kind == Kind.ERA:
                self.table.eras.add(Era(*decode(record.payload)))
            elif record.kind == Kind.GONE:
                chunks, layouts = decode(record.payload)
                self._drop(chunks, layouts)
        except (CorruptData, OSError):
            # The file was deleted. A later record of the journal says that its chunk was dropped.
            return

    def _describe(self, payload: bytes) -> None:
        description, _ = decode_layout(payload, self._interner)
        with self._lock:
            self.table.add(description)
            self._plans.drop(names_of(description.layout))

    def _place(self, place: Place) -> None:
        block = self.table.blocks.get(place.layout)
        if block is None:
            return
        arena = self._arenas.get(place.arena)
        if arena is None:
            path = arena_path(self._folder, place.arena)
            arena = self._arenas[place.arena] = Arena.open(place.arena, path, writable=False)
        if place.at + words_of(place.capacity, block.columns) > len(arena.words):
            raise CorruptData(f"chunk {place.chunk} does not fit its arena")
        block.add(Chunk(place.chunk, arena, place.at, place.capacity, block.columns))
        self._block_of[place.chunk] = block

    def _pack(self, place: PackedPlace) -> None:
        block = self.table.blocks.get(place.layout)
        if block is None:
            return
        file = self._files.get(place.file)
        if file is None:
            file = self._files[place.file] = self._open_file(place.file)
        packed = file.packed(place.offset, place.size, f"chunk {place.chunk}")
        chunk = PackedChunk(place.chunk, packed, place.file, place.offset)
        file.live += 1
        self._block_of[place.chunk] = block
        before = block.chunks
        block.chunks = tuple(sorted([*(c for c in before if c.number != place.chunk), chunk], key=_order))
        for replaced in before:
            if replaced.number == place.chunk and isinstance(replaced, Chunk):
                replaced.leave()

    def _open_file(self, number: int) -> PackFile:
        file = PackFile.find(self._folder, number)
        if file is None:
            raise CorruptData(f"pack file {number} is not there")
        return file

    def _drop(self, chunks: list[int], layouts: list[int]) -> None:
        numbers = set(chunks)
        for block in {block.number: block for n in numbers if (block := self._block_of.pop(n, None))}.values():
            for gone in block.drop(lambda chunk: chunk.number in numbers):
                if isinstance(gone, PackedChunk):
                    self._one_less(gone.file)
                else:
                    gone.leave()
        if layouts:
            with self._lock:
                self._plans.drop(self.table.remove(layouts))

    def _one_less(self, number: int) -> None:
        file = self._files.get(number)
        if file is not None:
            file.live -= 1
            if not file.live:
                del self._files[number]


def _order(chunk: Chunk | PackedChunk) -> int:
    """Return the key that sorts a block's chunks by time: their numbers ascend."""
    return chunk.number
