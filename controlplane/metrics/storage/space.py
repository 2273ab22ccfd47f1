"""The space of a series store: it keeps the rows. This module keeps them in memory, and folder.py in files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controlplane.metrics.storage.arenas import Arenas
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.eras import Era
from controlplane.metrics.storage.packing import Packed
from controlplane.metrics.storage.records import Description

MEMORY = 0
"""File number of the chunks that are packed in memory."""


class Space:
    """Rows in memory. It cuts chunks and keeps packed ones. Call its methods under the store's write lock.

    Some methods only record a change of the store. They do nothing in memory.
    """

    durable = False

    def __init__(self) -> None:
        self._memory = Arenas(None)
        self._next_chunk = 1
        self._packed_bytes = 0
        self.memory_packed = 0
        """Bytes of the packed chunks in memory."""

    def describe(self, description: Description, body: bytes) -> None:
        """Record a new layout. `body` is its `layout_body`."""

    def begin(self, era: Era) -> None:
        """Record a new era."""

    def switch(self, block: Block) -> None:
        """Record that a source's rows go to this block from now on."""

    def forget(self, *, chunks: Iterable[AnyChunk] = (), layouts: Sequence[int] = ()) -> None:
        """Record that chunks and layouts were dropped, and free their memory."""
        for chunk in chunks:
            if isinstance(chunk, Chunk):
                self._release(chunk)
            else:
                self._one_packed_less(chunk)

    def cut(self, block: Block) -> Chunk:
        """Make the block's next chunk."""
        chunk = self._memory.cut(self._number(), block.next_rows, block.columns)
        block.add(chunk)
        return chunk

    def keep(self, chunk: AnyChunk, packed: bytes, *, recorded: bool) -> PackedChunk | None:
        """Store a packed chunk. Return None if the chunk is safer as it is.

        `recorded` means that the chunk is of recorded series, which are kept longer than scraped ones.
        """
        return self._keep_in_memory(chunk, packed)

    def _keep_in_memory(self, chunk: AnyChunk, packed: bytes) -> PackedChunk:
        self._packed_bytes += len(packed)
        self.memory_packed += len(packed)
        return PackedChunk(chunk.number, Packed(packed, f"chunk {chunk.number} in memory"), MEMORY, 0)

    def discard(self, chunk: PackedChunk) -> None:
        """Free a packed chunk that did not replace the chunk it was made from."""
        self._one_packed_less(chunk)

    def _one_packed_less(self, chunk: PackedChunk) -> None:
        self._packed_bytes -= chunk.nbytes
        if chunk.file == MEMORY:
            self.memory_packed -= chunk.nbytes

    def kept(self, block: Block, chunk: PackedChunk) -> bool:
        """Record that a packed chunk replaces the chunk it was made from. Return whether that worked."""
        return True

    def release(self, chunk: AnyChunk) -> None:
        """Free the memory of a chunk that was replaced."""
        if isinstance(chunk, Chunk):
            self._release(chunk)
        else:
            self._one_packed_less(chunk)

    def stored(self, chunk: AnyChunk) -> bool:
        """Return whether a chunk is in a file."""
        return chunk.file != MEMORY if isinstance(chunk, PackedChunk) else chunk.arena.path is not None

    def sync_packed(self) -> None:
        """Sync the packed chunks to the disk. Call it before the old chunks are freed. Raises OSError on failure."""

    def sync_notes(self) -> None:
        """Sync the recorded changes to the disk. Raises OSError on failure."""

    def _number(self) -> int:
        number, self._next_chunk = self._next_chunk, self._next_chunk + 1
        return number

    def _release(self, chunk: Chunk) -> None:
        self._memory.release(chunk)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self._memory.nbytes + self._packed_bytes
