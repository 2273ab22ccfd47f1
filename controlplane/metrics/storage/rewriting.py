"""Rewrites a journal that has become long: with what still holds, and while others go on appending to it.

What holds is noted at one moment, under the store's write lock; no chunk is looked at there. It is written to a draft
without the lock, and so is what was appended meanwhile, until little of that is left. Under the lock the rest is copied
and the draft takes the journal's place. Whoever appends waits for two short moments, however long the journal is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from controlplane.metrics.storage.block import AnyChunk, Block
from controlplane.metrics.storage.chunk import PackedChunk
from controlplane.metrics.storage.eras import Era, Eras
from controlplane.metrics.storage.folder import Folder, sync_folder
from controlplane.metrics.storage.journal import Journal, Kind
from controlplane.metrics.storage.records import Moved, PackedPlace, Place, encode

FEW_BYTES = 64 * 2**10
"""What is copied under the lock at most, as long as nobody appends faster than the disk takes it."""
ROUNDS = 10


class _Rewrite:
    """One rewrite. Made under the write lock, at the moment that counts."""

    def __init__(self, folder: Folder, old: Journal, blocks: Iterable[Block], eras: Eras) -> None:
        self._folder, self._old = folder, old
        self._chunks = [(block.number, block.chunks) for block in blocks]
        self._layouts, self._files, self._eras = dict(folder.layouts), frozenset(folder.files), tuple(eras)
        self._upto = self._start = old.end
        """How far the old journal was taken in, and from where on it is copied as it is."""
        self._start_at = 0
        """Where that copy begins in the draft."""
        self._places: dict[int, tuple[int, int]] = {}
        """Where the layouts of that moment lie in the draft."""
        self._generation = int(old.path.suffix[1:]) + 1
        path = old.path.with_name(f"journal.{self._generation}.new")
        path.unlink(missing_ok=True)
        self._draft = Journal(path)

    def write(self) -> None:
        """Write what holds, and most of what came since. Raises OSError."""
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
        """Let the draft be the journal; called under the write lock. Return whether it is. Raises OSError."""
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
        with suppress(OSError):  # who follows the old one reads the new one from its start
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
    """Begin a new journal file with all that still holds. Blocking; `writing` is the store's write lock.

    Raises OSError, and then the old file goes on.
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
