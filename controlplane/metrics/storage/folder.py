"""A series store's rows in files of one folder.

    lock                 held by the process that writes
    journal.<n>          records that describe the rows; the journal with the highest <n> is valid
    <n>.arena            new rows, mapped into memory
    <n>.raw, <n>.rec     packed chunks, of scraped and of recorded series

While a file cannot be written (the disk is full), new rows go to memory and stored rows stay unchanged. `paused` has
the reason until writing works again.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from controlplane.metrics.storage.arenas import Arenas
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.eras import Era
from controlplane.metrics.storage.errors import CorruptData
from controlplane.metrics.storage.journal import Journal, Kind
from controlplane.metrics.storage.packfile import FILE_BYTES, PackFile, pack_path
from controlplane.metrics.storage.records import (
    Description,
    Gone,
    PackedPlace,
    Place,
    Switch,
    encode,
    encode_layout,
)
from controlplane.metrics.storage.space import MEMORY, Space
from controlplane.whole_file import sync_folder

log = logging.getLogger(__name__)

FILE_MS = {False: 2 * 3_600_000, True: 24 * 3_600_000}
"""Milliseconds that one pack file covers, of scraped (False) and of recorded (True) series. Retention drops whole
files."""

MOST_OPEN = 256
"""Most pack files that are open for appending. Chosen: those of three weeks of rows that are packed late."""
IDLE_SYNCS = 2
"""Calls of `sync_packed` without a new chunk after which a file is finished when the next file begins. Chosen: a
backlog is packed in many calls, and each adds to all of its spans."""

LEAST_FREE = 8 * 2**20
"""Free bytes on the disk that are needed to try writing again. Chosen: with less it would fail again within seconds."""


class Folder(Space):
    """Rows in files. Call its methods under the store's write lock, except the ones that say "needs no lock"."""

    durable = True

    def __init__(self, path: Path, lock: int) -> None:
        """Call `open_folder` instead. `lock` is the descriptor that holds the folder's lock."""
        super().__init__()
        self.path, self._lock = path, lock
        self.arenas = Arenas(path)
        self.files: dict[int, PackFile] = {}
        """Pack files by number."""
        self.paused = ""
        """Reason why new rows are only in memory. "" when files can be written."""
        self.pauses = 0
        """Number of times that writing failed."""
        self.layouts: dict[int, tuple[int, int]] = {}
        """Bytes (start, end) of each layout's record in the journal, by layout number."""
        self.journal: Journal | None = None
        self.last_layout = 0
        """Highest layout number in the journal."""
        self._unwritten: dict[int, bytes] = {}
        """Layout records that could not be written to the journal, by layout number."""
        self._unwritten_eras: list[Era] = []
        self._gone = Gone()
        """Dropped chunks and layouts that could not be written to the journal yet."""
        self._current: dict[tuple[bool, int], tuple[PackFile, int]] = {}
        """Pack file of each span of FILE_MS to which chunks are appended, by kind (recorded) and number since 1970.

        Sources are packed one after another. With one current file for all spans, a backlog of a day would begin a new
        file at nearly each chunk, and a mapped file takes a descriptor of the process. With each is the value of
        `_syncs` at its last chunk; the one that was used last is at the end.
        """
        self._syncs = 0
        self._unsynced: dict[int, PackFile] = {}
        """Pack files that got chunks since the last `sync_packed`."""
        self._next_file = 1

    # -- what the store says ---------------------------------------------------------------------------------------

    def describe(self, description: Description, body: bytes) -> None:
        """Record a new layout in the journal."""
        number = description.number
        record = encode_layout(description, body)
        if not self._write_layout(number, record):
            self._unwritten[number] = record

    def begin(self, era: Era) -> None:
        """Record a new era in the journal."""
        if not self._try(Kind.ERA, encode(era)):
            self._unwritten_eras.append(era)

    def switch(self, block: Block) -> None:
        """Record in the journal that a source's rows go to this block from now on."""
        self._try(Kind.SWITCH, encode(Switch(block.number)))

    def cut(self, block: Block) -> Chunk:
        """Make the block's next chunk: in a file, or in memory while no file can be written."""
        rows, number = block.next_rows, self._number()
        if self.paused or block.number in self._unwritten:
            chunk = self._memory.cut(number, rows, block.columns)
        else:
            chunk = self._cut_in_file(block, number, rows) or self._memory.cut(number, rows, block.columns)
        block.add(chunk)
        return chunk

    def _cut_in_file(self, block: Block, number: int, rows: int) -> Chunk | None:
        try:
            chunk = self.arenas.cut(number, rows, block.columns)
        except OSError as error:
            self.pause(error)
            return None
        if self._try(Kind.CHUNK, encode(Place(number, block.number, chunk.arena.number, chunk.at, rows))):
            return chunk
        self.arenas.undo(chunk)
        return None

    def forget(self, *, chunks: Iterable[AnyChunk] = (), layouts: Sequence[int] = ()) -> None:
        """Record in the journal that chunks and layouts were dropped, then free them.

        In this order every chunk in the journal exists.
        """
        if self.journal is None:
            return
        gone = list(chunks)
        self.write_off(
            [c.number for c in gone if self.stored(c)], [n for n in layouts if self._unwritten.pop(n, None) is None]
        )
        super().forget(chunks=gone)
        for chunk in gone:
            if isinstance(chunk, PackedChunk) and chunk.file in self.files:
                self._one_less(self.files[chunk.file])

    def write_off(self, chunks: Sequence[int], layouts: Sequence[int]) -> None:
        """Record in the journal that chunks and layouts were dropped, by their numbers."""
        for number in layouts:
            self.layouts.pop(number, None)
        gone = Gone((*self._gone.chunks, *chunks), (*self._gone.layouts, *layouts))
        if gone != Gone():
            self._gone = Gone() if self._try(Kind.GONE, encode(gone)) else gone

    def _release(self, chunk: Chunk) -> None:
        if self.journal is None:
            return
        (self._memory if chunk.arena.path is None else self.arenas).release(chunk)

    # -- packed chunks ---------------------------------------------------------------------------------------------

    def keep(self, chunk: AnyChunk, packed: bytes, *, recorded: bool) -> PackedChunk | None:
        """Store a packed chunk in a file. It is valid once `sync_packed` and then `kept` were called.

        While no file can be written, a chunk in memory is packed in memory. A chunk in a file stays as it is, and the
        result is None.
        """
        kept = None if self.paused else self._keep_in_file(chunk, packed, recorded)
        if kept is None and self.paused and not self.stored(chunk):
            return self._keep_in_memory(chunk, packed)
        return kept

    def _keep_in_file(self, chunk: AnyChunk, packed: bytes, recorded: bool) -> PackedChunk | None:
        file = self._pack_file(recorded, len(packed), chunk.last_ms)
        try:
            offset = file.append(packed, chunk.last_ms)
        except OSError as error:
            if not file.live:
                self._drop_file(file)
            self.pause(error)
            return None
        try:
            read = file.packed(offset, len(packed), f"chunk {chunk.number}")
        except CorruptData as error:  # it cannot be mapped
            self._one_less(file)
            self.pause(OSError(str(error)))
            return None
        self._packed_bytes += len(packed)
        self._unsynced[file.number] = file
        return PackedChunk(chunk.number, read, file.number, offset)

    def _pack_file(self, recorded: bool, size: int, last_ms: int) -> PackFile:
        span = recorded, last_ms // FILE_MS[recorded]
        file, _ = self._current.get(span, (None, 0))
        if file is not None and file.end and file.end + size > FILE_BYTES:
            self._finish(span)
            file = None
        if file is None:
            self._make_room(recorded)
            number, self._next_file = self._next_file, self._next_file + 1
            file = PackFile(number, pack_path(self.path, number, recorded=recorded), recorded=recorded)
            self.files[number] = file
        self._current.pop(span, None)
        self._current[span] = file, self._syncs
        return file

    def _make_room(self, recorded: bool) -> None:
        """Finish the files that get no more chunks, before another begins. A finished file never changes again."""
        for span, (_, at) in list(self._current.items()):
            idle = span[0] == recorded and self._syncs - at > IDLE_SYNCS
            if idle or len(self._current) >= MOST_OPEN:
                self._finish(span)

    def _finish(self, span: tuple[bool, int]) -> None:
        file, _ = self._current.pop(span)
        try:
            file.finish()
        except OSError as error:
            log.warning(
                "metrics: %s keeps a length that it does not need (%s); the next start cuts it", file.path, error
            )

    def sync_packed(self) -> None:
        """Sync the pack files to the disk. Call it before the old chunks are freed. Blocking, needs no lock.

        Raises OSError when a file cannot be synced.
        """
        for file in list(self._unsynced.values()):
            try:
                file.sync()
            except FileNotFoundError:
                if file.number in self.files:
                    raise
        sync_folder(self.path)
        self._unsynced.clear()
        self._syncs += 1

    def sync_notes(self) -> None:
        """Sync the journal to the disk. Blocking, needs no lock. Raises OSError when that fails."""
        if self.journal is not None:
            self.journal.sync()

    def discard(self, chunk: PackedChunk) -> None:
        """Free a packed chunk that did not replace the chunk it was made from."""
        super().discard(chunk)
        if self.journal is not None and chunk.file in self.files:
            self._one_less(self.files[chunk.file])

    def kept(self, block: Block, chunk: PackedChunk) -> bool:
        """Record in the journal that a packed chunk replaces the chunk it was made from. Return whether that worked."""
        if chunk.file == MEMORY:
            return True
        place = PackedPlace(chunk.number, block.number, chunk.file, chunk.offset, chunk.nbytes)
        return self._try(Kind.PACKED, encode(place))

    def _one_less(self, file: PackFile) -> None:
        file.live -= 1
        if not file.live:
            self._drop_file(file)

    def _drop_file(self, file: PackFile) -> None:
        del self.files[file.number]
        for span in [span for span, (other, _) in self._current.items() if other is file]:
            del self._current[span]
        try:
            file.remove()
        except OSError as error:
            log.warning("metrics: %s cannot be deleted (%s); the next start does it", file.path, error)

    def adopt_file(self, file: PackFile) -> None:
        """Add a pack file of an earlier run. No chunk is appended to it."""
        self.files[file.number] = file
        try:
            file.cut_to(file.end)
        except OSError as error:
            log.warning("metrics: %s keeps a length that it does not need (%s)", file.path, error)

    def adopt_packed(self, file: PackFile, place: PackedPlace, last_ms: int) -> None:
        """Add a packed chunk of an earlier run."""
        file.live += 1
        file.end = max(file.end, place.offset + place.size)
        file.note(last_ms)
        self._packed_bytes += place.size

    def skip_file(self, number: int) -> None:
        """Never use this number for a pack file."""
        self._next_file = max(self._next_file, number + 1)

    def skip_chunk(self, number: int) -> None:
        """Never use this number for a chunk."""
        self._next_chunk = max(self._next_chunk, number + 1)

    # -- the journal -----------------------------------------------------------------------------------------------

    def _try(self, kind: Kind, payload: bytes) -> bool:
        if self.journal is None:
            return False
        try:
            self.journal.append(kind, payload)
        except OSError as error:
            self.pause(error)
            return False
        return True

    def _write_layout(self, number: int, record: bytes) -> bool:
        start = self.journal.end if self.journal else 0
        if not self._try(Kind.LAYOUT, record) or self.journal is None:
            return False
        self.layouts[number] = (start, self.journal.end)
        return True

    # -- trouble ---------------------------------------------------------------------------------------------------

    def pause(self, error: OSError) -> None:
        """Keep new rows in memory only from now on, because of `error`."""
        if not self.paused:
            self.pauses += 1
            self.paused = error.strerror or str(error)
            full = " Free some space." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            log.error("metrics: %s cannot be written (%s): new samples are kept in memory.%s", self.path, error, full)

    def resume(self) -> bool:
        """Try to write to the journal again. Return whether new rows go to files from now on.

        The caller has made an arena before, which shows that arenas can be written.
        """
        if self.journal is None:
            return False
        try:
            disk = os.statvfs(self.path)
            if disk.f_bavail * disk.f_frsize < LEAST_FREE:
                return False
            self.journal.append(Kind.GONE, encode(self._gone))
        except OSError:
            return False
        self.paused, self._gone = "", Gone()
        while self._unwritten_eras:
            if not self._try(Kind.ERA, encode(self._unwritten_eras[0])):
                return False
            self._unwritten_eras.pop(0)
        for number, record in list(self._unwritten.items()):
            if not self._write_layout(number, record):
                return False
            del self._unwritten[number]
        log.warning("metrics: %s can be written again", self.path)
        return True

    def sync(self) -> None:
        """Sync arenas and journal to the disk. Blocking, needs no lock. Raises OSError when that fails."""
        self.arenas.sync()
        sync_folder(self.path)
        self.sync_notes()

    def close(self) -> None:
        """Close the files and release the folder's lock.

        Rows that a late thread appends after that go to memory. No file is touched: another process may own them now.
        """
        self.paused = "the store is closed"
        for span in list(self._current):
            self._finish(span)
        self.arenas.close()
        if self.journal is not None:
            self.journal.close()
            self.journal = None
        os.close(self._lock)

    @property
    def complete(self) -> bool:
        """Whether every row is in a file, where other processes can read it."""
        return not self.paused and not self._memory.nbytes and not self.memory_packed

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, in memory and in files."""
        return super().nbytes + self.arenas.nbytes

    @property
    def disk_bytes(self) -> int:
        """Size of all files in bytes."""
        journal = self.journal.end if self.journal else 0
        return sum(f.end for f in list(self.files.values())) + self.arenas.reserved + journal
