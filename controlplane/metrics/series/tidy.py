"""Maintenance of a series store, in a thread beside the one that appends: packs, syncs, and drops old samples.

every turn    full chunks that are old enough not to be read by most queries are packed
              chunks that stay open too long are sealed, since each keeps a whole arena
              samples past their retention are dropped, and the oldest ones beyond the size limit
every 15 s    all files are synced to the disk, against power cuts
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from controlplane.clock.every import Every
from controlplane.metrics.series.series_store import SeriesStore
from controlplane.metrics.series.source import RECORDED
from controlplane.metrics.storage.arena import Arena
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import END_ROW, Chunk, PackedChunk
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.storage.packing import pack
from controlplane.metrics.storage.rewriting import rewrite
from controlplane.metrics.storage.space import MEMORY

log = logging.getLogger(__name__)

PACK_AFTER_MS = 6 * 60_000
"""Milliseconds from a full chunk's last row until it is packed. Chosen: most rules read the last five minutes, and they
read them without unpacking."""
OPEN_FOR_MS = 2 * 3_600_000
"""Milliseconds after which a chunk that is not full is sealed. Chosen."""
IDLE_MS = 10 * 60_000
"""Milliseconds without a row after which a source's former layout is not expected back. Chosen."""
BATCH_VALUES = 4_000_000
"""Values packed between two syncs of the pack files."""
MEMORY_BYTES = 512 * 2**20
"""Maximum bytes of packed chunks in memory while the disk cannot be written: most of a day of 300 targets."""
SYNC_EVERY_S = 15.0
"""Seconds between two syncs of all files. A power cut loses at most the rows since the last sync."""
RETRY_EVERY_S = 10.0
"""Seconds between two attempts to write to the disk again."""
REWRITE_BYTES = 16 * 2**20
"""Least length in bytes of a journal that is rewritten. It must also be twice as long as the records that it keeps."""
RECORD_BYTES = 80
"""Maximum bytes of a chunk's record in the journal."""
REWRITE_AGAIN_S = 600.0
"""Seconds from a failed rewrite of the journal to the next attempt."""


class Turn(NamedTuple):
    """Result of one turn, in chunks."""

    packed: int = 0
    dropped: int = 0


class Tidy:
    """The maintenance of one store. One thread at a time calls `turn`."""

    def __init__(self, store: SeriesStore, max_bytes: int = 0) -> None:
        """`max_bytes` is the limit of all files together on disk. 0 means no limit."""
        self._store, self._max_bytes = store, max_bytes
        self._folder = store.space if isinstance(store.space, Folder) else None
        self._resume, self._bring = Every(RETRY_EVERY_S), Every(SYNC_EVERY_S)
        self._try_rewrite = Every(REWRITE_AGAIN_S)
        self._replaced: list[AnyChunk] = []
        """Chunks that packed ones replaced, and that are not free yet."""

    def turn(self, now_ms: int, aged_ms: int | None = None) -> Turn:
        """Do the work that is due. Blocking: call it outside the event loop.

        Retention is measured back from `aged_ms`, by default from `now_ms`.
        """
        folder = self._folder
        if folder is not None and folder.journal is None:
            return Turn()
        if (
            folder is not None
            and folder.paused
            and self._resume.take(now_ms / 1000)
            and self._spare(folder, always=True)
        ):
            with self._store.writing:
                folder.resume()
        for block in self._blocks():
            self._seal(block, now_ms)
        self._free_replaced()
        packed = sum(self._packed(batch) for batch in self._batches(now_ms))
        dropped = self._store.expire(now_ms if aged_ms is None else aged_ms)
        if folder is not None:
            dropped += self._limit_size(folder) + self._limit_memory(folder)
            self._prepare(folder)
            self._sync(folder, now_ms)
            self._rewrite(folder, now_ms)
        return Turn(packed, dropped)

    def _blocks(self) -> Iterator[Block]:
        for source in list(self._store.sources.values()):
            yield from list(source.blocks.values())

    def _seal(self, block: Block, now_ms: int) -> None:
        """Seal a chunk that keeps its arena for too long, or that is in memory and could be in a file."""
        chunk = next(iter(block.chunks[-1:]), None)
        if not isinstance(chunk, Chunk) or chunk.full or not chunk.count:
            return
        source = self._store.sources.get(block.source)
        # The absolute difference: after the clock was set back, earlier rows are in the future.
        idle = (source is None or source.current is not block) and abs(now_ms - chunk.last_ms) > IDLE_MS
        if idle or self._stray(chunk) or chunk.first_ms < now_ms - OPEN_FOR_MS:
            with self._store.writing:
                chunk.sealed = True

    def _stray(self, chunk: AnyChunk) -> bool:
        """Whether a chunk is in memory, because no file could be written then, and could be in a file now."""
        return self._folder is not None and not self._folder.paused and not self._folder.stored(chunk)

    def _due(self, chunk: AnyChunk, now_ms: int) -> bool:
        """Whether a chunk must be packed now, or moved to a file."""
        if isinstance(chunk, PackedChunk):
            return self._stray(chunk)
        if not chunk.full or not chunk.count:
            return False
        waits = self._folder is not None and bool(self._folder.paused) and self._folder.stored(chunk)
        return self._stray(chunk) or (abs(now_ms - chunk.last_ms) > PACK_AFTER_MS and not waits)

    def _batches(self, now_ms: int) -> Iterator[list[tuple[Block, AnyChunk]]]:
        batch: list[tuple[Block, AnyChunk]] = []
        values = 0
        for block in self._blocks():
            for chunk in block.chunks:
                if self._due(chunk, now_ms):
                    batch.append((block, chunk))
                    values += chunk.count * chunk.columns
                    if values >= BATCH_VALUES:
                        yield batch
                        batch, values = [], 0
        if batch:
            yield batch

    def _packed(self, batch: list[tuple[Block, AnyChunk]]) -> int:
        """Pack chunks. A packed chunk replaces the old one only once it is on the disk. Return the number replaced."""
        store, made = self._store, []
        for block, chunk in batch:
            data = _packed_bytes(chunk)
            with store.writing:
                kept = store.space.keep(chunk, data, recorded=block.source.startswith(RECORDED))
            if kept is not None:
                made.append((block, chunk, kept))
        try:
            store.space.sync_packed()
        except OSError as error:
            with store.writing:
                for _, _, kept in made:
                    store.space.discard(kept)
                if self._folder is not None:
                    self._folder.pause(error)
            return 0
        packed = sum(self._replace(block, chunk, kept) for block, chunk, kept in made)
        self._free_replaced()
        return packed

    def _replace(self, block: Block, chunk: AnyChunk, kept: PackedChunk) -> bool:
        space = self._store.space
        with self._store.writing:
            if chunk not in block.chunks or not space.kept(block, kept):
                space.discard(kept)
                return False
            block.replace(chunk, kept)
            if space.stored(chunk):
                self._replaced.append(chunk)
            else:
                space.release(chunk)
        return True

    def _free_replaced(self) -> None:
        """Free the replaced chunks, once the journal's record of the replacement is on the disk."""
        if not self._replaced:
            return
        try:
            self._store.space.sync_notes()
        except OSError as error:
            if self._folder is not None:
                with self._store.writing:
                    self._folder.pause(error)
            return
        for chunk in self._replaced:
            with self._store.writing:
                self._store.space.release(chunk)
        self._replaced.clear()

    def _limit_size(self, folder: Folder) -> int:
        """Drop the oldest pack files while all files together exceed the limit, scraped series before recorded ones."""
        dropped, names = 0, []
        while self._max_bytes and folder.disk_bytes > self._max_bytes:
            files = sorted(folder.files.values(), key=lambda file: (file.recorded, file.newest_ms))
            found = next((file for file in files if file.live), None)
            if found is None:
                break
            gone = self._store.drop_file(found.number)
            dropped += gone
            if not gone:
                break
            names.append(found.path.name)
        if names:
            log.warning("metrics: the size limit is reached; the oldest samples are dropped (%s)", ", ".join(names))
        return dropped

    def _limit_memory(self, folder: Folder) -> int:
        """Drop the older half of the packed chunks in memory if they exceed MEMORY_BYTES: the disk is full for long."""
        if folder.memory_packed <= MEMORY_BYTES:
            return 0
        log.warning("metrics: the disk cannot be written for so long that the oldest samples in memory are dropped")
        chunks = [
            c for block in self._blocks() for c in block.chunks if isinstance(c, PackedChunk) and c.file == MEMORY
        ]
        middle = sorted(chunk.last_ms for chunk in chunks)[len(chunks) // 2] if chunks else 0
        return self._store.drop_packed(lambda chunk: chunk.file == MEMORY and chunk.last_ms <= middle)

    def _prepare(self, folder: Folder) -> None:
        """Make the next arena in advance, so that the thread that appends does not wait for the disk."""
        if not folder.paused:
            self._spare(folder)

    def _spare(self, folder: Folder, *, always: bool = False) -> bool:
        with self._store.writing:
            wanted = folder.arenas.wanted(always=always)
        if wanted is None:
            return True
        try:
            spare = Arena.make(*wanted)
        except OSError as error:
            with self._store.writing:
                folder.pause(error)
            return False
        with self._store.writing:
            folder.arenas.spare = spare
        return True

    def _sync(self, folder: Folder, now_ms: int) -> None:
        if not self._bring.take(now_ms / 1000):
            return
        try:
            folder.sync()
        except OSError as error:
            with self._store.writing:
                folder.pause(error)

    def _rewrite(self, folder: Folder, now_ms: int) -> None:
        journal = folder.journal
        if journal is None or folder.paused or not self._try_rewrite.due(now_ms / 1000):
            return
        needed = sum(end - start for start, end in list(folder.layouts.values()))
        if journal.end < max(REWRITE_BYTES, 2 * needed):
            return
        needed += RECORD_BYTES * sum(len(block.chunks) for block in self._blocks())
        if journal.end < 2 * needed:
            return
        try:
            rewrite(folder, self._store.writing, self._blocks, self._store.table.eras)
        except OSError as error:
            self._try_rewrite.done(now_ms / 1000)
            log.warning("metrics: %s cannot be rewritten shorter (%s); it goes on as it is", journal.path, error)


def _packed_bytes(chunk: AnyChunk) -> bytes:
    if isinstance(chunk, PackedChunk):
        return bytes(chunk.packed.data)
    times, values, flags = chunk.rows()
    return pack(np.ascontiguousarray(times), values, (flags & END_ROW) != 0)
