"""Where a series store keeps its rows. This one is memory; folder.py keeps them in files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controlplane.metrics.storage.arenas import Arenas
from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import Chunk, PackedChunk
from controlplane.metrics.storage.eras import Era
from controlplane.metrics.storage.packing import Packed
from controlplane.metrics.storage.records import Description

MEMORY = 0
"""The number of the file of what is packed in memory."""


class Space:
    """Cuts chunks, keeps packed ones, and takes note of what the store does. Called under the store's write lock."""

    durable = False

    def __init__(self) -> None:
        self._memory = Arenas(None)
        self._next_chunk = 1
        self._packed_bytes = 0
        self.memory_packed = 0
        """Bytes of the packed chunks that lie in memory."""

    def describe(self, description: Description, body: bytes) -> None:
        """Take note of a new layout; `body` is its `layout_body`."""

    def begin(self, era: Era) -> None:
        """Take note that the clock was set."""

    def switch(self, block: Block) -> None:
        """Take note that a source's rows go to this block from now on."""

    def forget(self, *, chunks: Iterable[AnyChunk] = (), layouts: Sequence[int] = ()) -> None:
        """Take note of what was dropped, and free its memory."""
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
        """Store a packed chunk; None if it is safer where it is.

        `recorded` says that it is kept longer than what was scraped.
        """
        return self._keep_in_memory(chunk, packed)

    def _keep_in_memory(self, chunk: AnyChunk, packed: bytes) -> PackedChunk:
        self._packed_bytes += len(packed)
        self.memory_packed += len(packed)
        return PackedChunk(chunk.number, Packed(packed, f"chunk {chunk.number} in memory"), MEMORY, 0)

    def discard(self, chunk: PackedChunk) -> None:
        """Free a packed chunk that never took the place of the one it was made of."""
        self._one_packed_less(chunk)

    def _one_packed_less(self, chunk: PackedChunk) -> None:
        self._packed_bytes -= chunk.nbytes
        if chunk.file == MEMORY:
            self.memory_packed -= chunk.nbytes

    def kept(self, block: Block, chunk: PackedChunk) -> bool:
        """Take note that a packed chunk takes the place of the one it was made of; return whether that worked."""
        return True

    def release(self, chunk: AnyChunk) -> None:
        """Free the memory of a chunk whose place another took."""
        if isinstance(chunk, Chunk):
            self._release(chunk)
        else:
            self._one_packed_less(chunk)

    def stored(self, chunk: AnyChunk) -> bool:
        """Whether a chunk lies in a file."""
        return chunk.file != MEMORY if isinstance(chunk, PackedChunk) else chunk.arena.path is not None

    def sync_packed(self) -> None:
        """Bring what was packed to where it is safe, before what it was packed from may go. Raises OSError."""

    def sync_notes(self) -> None:
        """Bring what was noted to where it is safe. Raises OSError."""

    def _number(self) -> int:
        number, self._next_chunk = self._next_chunk, self._next_chunk + 1
        return number

    def _release(self, chunk: Chunk) -> None:
        self._memory.release(chunk)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that are kept."""
        return self._memory.nbytes + self._packed_bytes
