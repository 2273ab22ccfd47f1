"""The supervisor's side of the journals: reads the files that workers append to, and deletes what was acknowledged."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from controlplane.gateway.usage.batch import Batch
from controlplane.gateway.usage.journal import SUFFIX
from controlplane.gateway.usage.lines import entry, fields_of

BATCH_RECORDS = 5_000
"""Most records of one batch: a file is read in a few pieces."""
BATCH_ROWS = 1_000
"""Most rows of one batch. The control plane accepts 2,000."""
_LINE_BYTES = 2**21
"""Longest line. The longest values come from the head of a request, which has at most 1 MB."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Segment:
    """One file of a journal."""

    path: Path
    epoch: str
    offset: int = 0
    """Place behind the last record that was acknowledged."""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch, and the place in the file behind its last record."""

    batch: Batch
    segment: _Segment
    end: int


class Segments:
    """All journals below a folder: `ROOT/COLUMN/EPOCH-NUMBER.journal`. Blocking calls, for one thread at a time.

    What was acknowledged is kept in memory only. After a restart everything is read again from the start of its file,
    and the control plane says what it has.
    """

    def __init__(self, root: Path, damaged: Callable[[int], None]) -> None:
        """`damaged` counts records that could not be read back."""
        self._root, self._damaged = root, damaged
        self._segments: dict[Path, _Segment] = {}
        self._acknowledged: dict[str, int] = {}
        self._told: set[Path] = set()

    def next(self) -> Reading | None:
        """Return the oldest records that were not acknowledged. None: there are none."""
        self._look()
        for segment in sorted(self._segments.values(), key=lambda s: s.path.name):
            try:
                reading = self._read(segment)
            except OSError as error:
                self._tell(segment, f"cannot be read: {error.strerror or error}")
                continue
            if reading is not None:
                return reading
        return None

    def acknowledge(self, reading: Reading, sequence: int) -> None:
        """The control plane has the records of the reading's epoch up to `sequence`."""
        self._acknowledged[reading.segment.epoch] = sequence
        if sequence >= reading.batch.last:
            reading.segment.offset = reading.end

    def waiting(self) -> tuple[int, float | None]:
        """Return the bytes that wait, and the unix time of the last change of the oldest file that waits, or None."""
        total, oldest = 0, None
        for segment in self._segments.values():
            try:
                status = segment.path.stat()
            except OSError:
                continue
            if segment.offset < status.st_size:
                total += status.st_size - segment.offset
                oldest = min(oldest or status.st_mtime, status.st_mtime)
        return total, oldest

    def _look(self) -> None:
        found = set(self._root.glob(f"*/*{SUFFIX}"))
        for path in self._segments.keys() - found:
            del self._segments[path]
        for path in found - self._segments.keys():
            self._segments[path] = _Segment(path, path.name.partition("-")[0])
        epochs = {segment.epoch for segment in self._segments.values()}
        self._acknowledged = {e: s for e, s in self._acknowledged.items() if e in epochs}

    def _read(self, segment: _Segment) -> Reading | None:
        with segment.path.open("rb") as file:
            if not segment.fields and not self._read_heading(segment, file):
                return None
            batch = Batch(segment.epoch)
            end = self._fill(batch, segment, file)
            if batch.last:
                return Reading(batch, segment, end)
            segment.offset = end
            self._retire(segment, file)
            return None

    def _read_heading(self, segment: _Segment, file: BinaryIO) -> bool:
        first = file.readline(_LINE_BYTES)
        if not first.endswith(b"\n"):
            self._retire(segment, file)
            return False
        fields = fields_of(first)
        if fields is None:
            self._tell(segment, "is damaged or of a later release, and is kept")
            return False
        segment.fields, segment.offset = fields, len(first)
        return True

    def _fill(self, batch: Batch, segment: _Segment, file: BinaryIO) -> int:
        """Add whole lines to the batch until it is full, and return the place behind the last of them."""
        end = segment.offset
        file.seek(end)
        known = self._acknowledged.get(segment.epoch, 0)
        number = 0
        while number < BATCH_RECORDS and len(batch.rows) < BATCH_ROWS and (data := file.readline(_LINE_BYTES)):
            if not data.endswith(b"\n") and len(data) < _LINE_BYTES:
                break  # its writer has not written the rest yet
            end += len(data)
            found = entry(data[:-1], segment.fields)
            if found is None:
                self._damaged(1)
                self._tell(segment, "has a damaged record")
            elif found.sequence > known:
                batch.add(found)
                number += 1
        return end

    def _retire(self, segment: _Segment, file: BinaryIO) -> None:
        """Delete a file that has no writer any more and whose records were all acknowledged."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        left = os.fstat(file.fileno()).st_size - segment.offset
        file.seek(segment.offset)
        if b"\n" in file.read(left):
            return  # its writer wrote this and ended in the meantime
        if left and segment.fields:
            self._damaged(1)
            self._tell(segment, "ends in a record that was not written to its end")
        segment.path.unlink(missing_ok=True)
        del self._segments[segment.path]

    def _tell(self, segment: _Segment, what: str) -> None:
        if segment.path not in self._told:
            self._told.add(segment.path)
            _log.warning("usage: %s %s", segment.path, what)
