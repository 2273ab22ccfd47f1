"""Rewrites a journal that has become long: the new file has the valid records only. Appending goes on meanwhile.

The valid layouts and chunks are noted at one moment under the store's write lock, without a look into a chunk. Without
the lock they are written to a draft, and then the records that were appended meanwhile, until few of them are left.
Under the lock the last records are copied, and the draft replaces the journal. So appending waits for two short
moments, however long the journal is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import PackedChunk
from controlplane.metrics.storage.eras import Era, Eras
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.storage.journal import Journal, Kind
from controlplane.metrics.storage.records import Moved, PackedPlace, Place, encode
from controlplane.whole_file import sync_folder

FEW_BYTES = 64 * 2**10
"""Maximum bytes copied under the lock, if the disk is faster than the appending. Chosen."""
ROUNDS = 10
"""Maximum number of rounds of copying without the lock. Chosen."""


class _Rewrite:
    """One rewrite. Make it under the write lock: it notes the valid layouts and chunks of that moment."""

    def __init__(self, folder: Folder, old: Journal, blocks: Iterable[Block], eras: Eras) -> None:
        self._folder, self._old = folder, old
        self._chunks = [(block.number, block.chunks) for block in blocks]
        self._layouts, self._files, self._eras = dict(folder.layouts), frozenset(folder.files), tuple(eras)
        self._upto = self._start = old.end
        """Bytes of the old journal: copied up to `_upto`, and copied unchanged from `_start` on."""
        self._start_at = 0
        """Byte in the draft at which the unchanged copy begins."""
        self._places: dict[int, tuple[int, int]] = {}
        """Bytes (start, end) in the draft of the noted layouts, by layout number."""
        self._generation = int(old.path.suffix[1:]) + 1
        path = old.path.with_name(f"journal.{self._generation}.new")
        path.unlink(missing_ok=True)
        self._draft = Journal(path)

    def write(self) -> None:
        """Write the valid records, and most of the records appended since. Raises OSError when that fails."""
        draft = self._draft
        data = self._old.read()
        for number, (start, end) in self._layouts.items():
            at = draft.end
            draft.copy(data[start:end])
            self._places[number] = at, draft.end
        for kind, payload in _records(self._eras, self._chunks, self._files):
            draft.append(kind, payload)
        self._start_at = draft.end
        for _ in range(ROUNDS):
            draft.sync()
            if self._old.end - self._upto <= FEW_BYTES:
                break
            self._catch_up()

    def _catch_up(self) -> None:
        end = self._old.end
        self._draft.copy(self._old.read(self._upto, end))
        self._upto = end

    def swap(self) -> bool:
        """Replace the journal by the draft. Return whether that was done. Call it under the write lock.

        Raises OSError when that fails.
        """
        folder, old, draft = self._folder, self._old, self._draft
        if folder.journal is not old:
            return False
        self._catch_up()
        shift = self._start_at - self._start
        places = {
            number: self._places[number] if self._layouts.get(number) == place else (place[0] + shift, place[1] + shift)
            for number, place in folder.layouts.items()
        }
        draft.rename(old.path.with_name(f"journal.{self._generation}"))
        folder.journal, folder.layouts = draft, places
        with suppress(OSError):  # without this record a follower reads the new journal from its start
            old.append(Kind.MOVED, encode(Moved(self._generation, draft.end)))
        return True

    def finish(self) -> None:
        """Remove the old journal."""
        with suppress(OSError):
            sync_folder(self._folder.path)
        self._old.close()
        with suppress(OSError):  # the next start deletes it
            self._old.path.unlink()

    def give_up(self) -> None:
        """Remove the draft."""
        self._draft.close()
        self._draft.path.unlink(missing_ok=True)


def rewrite(folder: Folder, writing: threading.Lock, blocks: Callable[[], Iterable[Block]], eras: Eras) -> None:
    """Begin a new journal file with the valid records only. Blocking. `writing` is the store's write lock.

    Raises OSError when that fails. The old file then stays valid.
    """
    with writing:
        if folder.journal is None:
            return
        made = _Rewrite(folder, folder.journal, blocks(), eras)
    swapped = False
    try:
        made.write()
        with writing:
            swapped = made.swap()
    finally:
        if swapped:
            made.finish()
        else:
            made.give_up()


def _records(
    eras: Iterable[Era], chunks: Iterable[tuple[int, tuple[AnyChunk, ...]]], files: frozenset[int]
) -> Iterator[tuple[Kind, bytes]]:
    """Yield a record for every era, and for every chunk in a file."""
    for era in eras:
        yield Kind.ERA, encode(era)
    for block, of_block in chunks:
        for chunk in of_block:
            if isinstance(chunk, PackedChunk):
                if chunk.file in files:
                    yield Kind.PACKED, encode(PackedPlace(chunk.number, block, chunk.file, chunk.offset, chunk.nbytes))
            elif chunk.arena.path is not None:
                yield Kind.CHUNK, encode(Place(chunk.number, block, chunk.arena.number, chunk.at, chunk.capacity))
