"""Reads files into the repository by several lanes at once, and notices files that change meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from queue import Queue
from typing import Final

from controlplane.backup.format.compress import Codec, best_codec
from controlplane.backup.format.envelope import Secrets
from controlplane.backup.format.ids import file_digest
from controlplane.backup.sources.ahead import IN_FLIGHT
from controlplane.backup.sources.cut import cutting_kind, cutting_name, spans
from controlplane.backup.sources.origin import Handle, Moved, Origin
from controlplane.backup.sources.walk import Found, Mark
from controlplane.backup.tally import Tally
from controlplane.backup.writing.lane import Lane, Sealed
from controlplane.backup.writing.shelf import Shelf

SAMPLE: Final = 256 << 10


@dataclass(frozen=True)
class Read:
    """A file that was read whole, without a change."""

    mark: Mark
    """The file's mark before and after it was read."""
    digest: bytes
    chunks: tuple[bytes, ...]
    cut: str
    """Kind of tensors by which it was cut (cut.cutting_kind)."""


class _Open:
    """One file that is being read."""

    def __init__(self, origin: Origin, found: Found, names: Iterable[str], *, compress: bool) -> None:
        """`names` are those of links to the file."""
        self.found = found
        self.handle = origin.open(found)
        try:
            size, called = self.handle.mark.size, (found.path, *names)
            name, self.cut = cutting_name(called), cutting_kind(called)
            self.spans = list(spans(name, size, self.handle.read_at))
            self.codec = _codec(self.handle, name, size) if compress else Codec.RAW
        except BaseException:
            self.handle.close()
            raise
        self.sealed: list[Sealed | None] = [None] * len(self.spans)
        self.left = len(self.spans)
        self.moving = False


class FileReader:
    """The lanes of one run, each with a thread. `close` must be called, also after an error."""

    def __init__(self, shelf: Shelf, secrets: Secrets, *, lanes: int, tally: Tally, compress: bool) -> None:
        self._compress, self._tally = compress, tally
        self._queue: Queue[tuple[_Open, int] | None] = Queue(maxsize=max(4 * lanes, IN_FLIGHT))
        self._lock = threading.Lock()
        self._results: dict[str, Read] = {}
        self._fault: BaseException | None = None
        self._lanes = [Lane(shelf, secrets) for _ in range(lanes)]
        # Daemons: Ctrl-C between here and the caller's `try` must not leave threads that keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name="backup", daemon=True) for lane in self._lanes
        ]
        for thread in self._threads:
            thread.start()

    def read(self, origin: Origin, files: Iterable[Found], names: Mapping[str, Sequence[str]]) -> Mapping[str, Read]:
        """Read the files and return what was read, by path. A file that changed meanwhile is not part of it.

        `names` has the names of links to files, by the files' paths: they say where a file has tensors.
        Raises BackupError when a file cannot be read, and the store's errors.
        """
        self._results = {}
        for found in files:
            if self._fault is not None:
                break
            try:
                opened = _Open(origin, found, names.get(found.path, ()), compress=self._compress)
            except Moved:
                continue
            if not opened.spans:
                self._ended(opened)
            for number, span in enumerate(opened.spans):
                opened.handle.ahead(span)
                self._queue.put((opened, number))
        self._queue.join()
        if self._fault is not None:
            raise self._fault
        return self._results

    def take(self, data: bytes) -> bytes:
        """Store a chunk that is no file's, and return its id. Call it only while no file is being read."""
        return self._lanes[0].take(data, Codec.ZSTD).id

    def finish(self) -> None:
        """Store every pack that was begun."""
        for lane in self._lanes:
            lane.flush()

    def close(self) -> None:
        """End the threads. Chunks that are still queued are not read."""
        self._fault = self._fault or RuntimeError("the run was ended")
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, lane: Lane) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._one(lane, *job)
            except BaseException as error:  # noqa: BLE001 - a thread's boundary: `read` raises it in the caller
                self._fault = self._fault or error
            finally:
                self._queue.task_done()

    def _one(self, lane: Lane, opened: _Open, number: int) -> None:
        span = opened.spans[number]
        try:
            if opened.moving or self._fault is not None:
                opened.handle.drop(span)
            else:
                opened.sealed[number] = lane.read(opened.handle, span, opened.codec)
                self._tally.add(span.length)
        except Moved:
            opened.moving = True
        finally:
            with self._lock:
                opened.left -= 1
                last = opened.left == 0
            if last:
                self._ended(opened)

    def _ended(self, opened: _Open) -> None:
        mark, after = opened.handle.mark, opened.handle.mark_now()
        opened.handle.close()
        sealed = [part for part in opened.sealed if part is not None]
        if opened.moving or after != mark or len(sealed) != len(opened.spans):
            return
        digest = file_digest(mark.size, (part.digest for part in sealed))
        self._results[opened.found.path] = Read(mark, digest, tuple(part.id for part in sealed), opened.cut)


def _codec(handle: Handle, name: str, size: int) -> Codec:
    """Choose the codec by a sample from the middle of the file: headers are not like the rest."""
    sample = handle.read_at(max(0, (size - SAMPLE) // 4 * 2), SAMPLE)
    return best_codec(sample, floats16=PurePosixPath(name).suffix in (".safetensors", ".gguf", ".bin"))
