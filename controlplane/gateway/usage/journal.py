"""The journal of one worker: usage records, appended to files of the gateway's data folder.

`append` only keeps a record. A few milliseconds later the records of that time are encoded and go to a thread in one
piece, and the thread writes them: a slow or hanging disk never delays a request. It calls fdatasync once a second while
it writes. So kill -9 of the worker loses the records of the last FLUSH_S, and a power failure those of the last SYNC_S.

Each start of a worker begins an epoch with sequence numbers from 1. A file that a dead worker left is never appended
to: what is at its end may not have been written. The control plane counts (gateway, epoch, sequence) once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import secrets
import threading
import time
from pathlib import Path
from typing import Protocol

from controlplane.gateway.recording import UsageRecord
from controlplane.gateway.usage.lines import heading, line

FLUSH_S = 0.005
"""Seconds from the first record of a piece to its way to the disk."""
SYNC_S = 1.0
"""Seconds between two fdatasync while records are written."""
SEGMENT_BYTES = 8 * 2**20
"""Bytes of a file, after which the next one begins. A file is deleted as a whole. Some 40,000 records."""
BUFFER_BYTES = 16 * 2**20
"""Most bytes that wait in memory for a disk that cannot be written. Some 80,000 records."""
RETRY_S = 1.0
"""Seconds between two attempts on a disk that cannot be written."""
SUFFIX = ".journal"
_SHARES = 8
"""A small bound holds at least this many files, so that deleting one makes room."""

FULL, DISK, MEMORY = "full", "disk", "memory"
"""Reasons of lost records: the bound of the journal, the disk, more records than the disk takes."""

_log = logging.getLogger(__name__)


class JournalMeters(Protocol):
    """Counters of a journal. Called in the journal's thread, and nowhere else."""

    def written(self, records: int) -> None:
        """So many records are in the journal."""
        ...

    def lost(self, reason: str, records: int) -> None:
        """So many records could not be kept."""
        ...


class Journal:
    """The journal in `folder`, whose only writer is this process. It holds at most `max_bytes`, older epochs included.

    A record that finds no room is counted and lost: traffic never waits for the journal.
    """

    def __init__(
        self, folder: Path, max_bytes: int, meters: JournalMeters, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._sequence = 0
        self._records: list[UsageRecord] = []
        self._waits = False
        self._pieces: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._writer = _Writer(folder, max_bytes, meters, self._pieces)
        self._thread = threading.Thread(target=self._writer.run, name="usage-journal", daemon=True)
        self._thread.start()

    def append(self, record: UsageRecord) -> None:
        """Add a record to the next piece. Never raises and never waits."""
        self._records.append(record)
        if not self._waits:
            self._waits = True
            self._loop.call_later(FLUSH_S, self._flush)

    def close(self, within_s: float = 5.0) -> bool:
        """Write what is left, and return whether everything is on the disk. Blocks for at most `within_s` seconds."""
        self._flush()
        self._pieces.put(None)
        self._thread.join(within_s)
        return not self._thread.is_alive() and not self._writer.lost

    def _flush(self) -> None:
        self._waits = False
        if self._records:
            # Many at once take half the time of one at a time: their code and data are in the processor's caches.
            first = self._sequence + 1
            lines = [line(sequence, record) for sequence, record in enumerate(self._records, first)]
            self._sequence += len(lines)
            self._records = []
            self._pieces.put((b"".join(lines), len(lines)))


class _Writer:
    """The thread's side of a journal."""

    def __init__(
        self, folder: Path, max_bytes: int, meters: JournalMeters, pieces: queue.SimpleQueue[tuple[bytes, int] | None]
    ) -> None:
        self._folder, self._max_bytes, self._meters, self._pieces = folder, max_bytes, meters, pieces
        self._segment_bytes = min(SEGMENT_BYTES, max(1, max_bytes // _SHARES))
        # Epochs of a folder sort by their time. The random part keeps two clocks apart.
        self._epoch = f"{time.time_ns():016x}{secrets.token_hex(4)}"
        self._number = 0
        self._file: int | None = None
        self._size = 0
        self._waiting: list[tuple[bytes, int]] = []
        self._waiting_bytes = 0
        self._unsynced = False
        self._synced_at = 0.0
        self._room = 0
        self._asked_at = -RETRY_S
        self._said = ""
        self.lost = False
        """Whether a record was lost, or waits for the disk."""

    def run(self) -> None:
        """Write pieces until None comes."""
        while self._turn():
            pass
        self._write_waiting()
        self.lost = self.lost or bool(self._waiting)
        self._close_file()

    def _turn(self) -> bool:
        wait_s = RETRY_S if self._waiting else SYNC_S if self._unsynced else None
        try:
            piece = self._pieces.get(timeout=wait_s)
        except queue.Empty:
            pass
        else:
            if piece is None:
                return False
            self._take(piece)
        self._write_waiting()
        if self._unsynced and time.monotonic() - self._synced_at >= SYNC_S:
            self._sync()
        return True

    def _take(self, piece: tuple[bytes, int]) -> None:
        if self._waiting_bytes + len(piece[0]) > BUFFER_BYTES:
            self._lose(DISK if self._said else MEMORY, piece[1])
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece[0])

    def _write_waiting(self) -> None:
        problem = ""
        while self._waiting:
            data, records = self._waiting[0]
            try:
                if self._has_room(len(data)):
                    self._write(data)
                    self._meters.written(records)
                else:
                    self._lose(FULL, records)
                    problem = (
                        f"usage records are lost: {self._folder} holds {self._max_bytes} bytes, its part of "
                        "gateway.max_journal_bytes; make the control plane reachable, or raise the bound"
                    )
            except OSError as error:
                problem = f"usage records wait in memory: {self._folder}: {error.strerror or error}"
                break
            del self._waiting[0]
            self._waiting_bytes -= len(data)
        self._say(problem)

    def _has_room(self, size: int) -> bool:
        """Whether the folder holds `size` more bytes within the bound.

        The disk is asked when the last answer is used up: the supervisor deletes files.
        """
        now = time.monotonic()
        if size > self._room and now - self._asked_at >= RETRY_S:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.scandir(self._folder) as found:
                self._room = self._max_bytes - sum(e.stat().st_size for e in found if e.name.endswith(SUFFIX))
            self._asked_at = now  # not before: a folder that cannot be read is a fault of the disk, and not full
        return size <= self._room

    def _write(self, data: bytes) -> None:
        if self._file is None or self._size >= self._segment_bytes:
            self._begin_file()
        assert self._file is not None
        try:
            _write_all(self._file, data)
        except OSError:
            # A part may be in the file. What cannot be cut off again is a damaged line there.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            self._close_file()
            raise
        self._size += len(data)
        self._room -= len(data)
        if not self._unsynced:
            self._unsynced, self._synced_at = True, time.monotonic()

    def _begin_file(self) -> None:
        self._close_file()
        self._number += 1
        path = self._folder / f"{self._epoch}-{self._number:08d}{SUFFIX}"
        new = path.with_suffix(".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # The lock says that this file has a writer. It is taken before the supervisor can see the file.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(file, heading())
            new.rename(path)
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        self._file, self._size = file, len(heading())
        self._room -= self._size

    def _close_file(self) -> None:
        if self._file is not None:
            self._sync()
            os.close(self._file)
            self._file = None

    def _sync(self) -> None:
        if self._unsynced and self._file is not None:
            with contextlib.suppress(OSError):  # the next write says what is wrong with the disk
                os.fdatasync(self._file)
        self._unsynced = False

    def _lose(self, reason: str, records: int) -> None:
        self.lost = True
        self._meters.lost(reason, records)

    def _say(self, what: str) -> None:
        """Log a state when it begins, and once when it ends."""
        if what and what != self._said:
            _log.warning("%s", what)
        elif self._said and not what:
            _log.info("usage records are written again: %s", self._folder)
        self._said = what


def _write_all(file: int, data: bytes) -> None:
    """Write all bytes. A disk that fills up takes a part of them, and only the next call raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
