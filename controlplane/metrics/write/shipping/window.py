"""Windows: the next rows of the queue, as finished requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from controlplane.metrics.write.shipping.errors import CorruptSegment
from controlplane.metrics.write.shipping.segments import Definition, Position, Row, SegmentReader, path_of
from controlplane.metrics.write.shipping.wire import RowTemplate, compressed, stale_values

MAX_ROWS = 10_000
"""Maximum rows that are read for a window. Chosen: the same thread writes, so it must not read old rows for long."""

MAX_REQUEST_BYTES = 8 * 2**20
"""Maximum bytes of a request before compression. Chosen: long labels make the limit of samples useless."""

log = logging.getLogger(__name__)


class WindowRequest(NamedTuple):
    """One request's body, its number of samples, and the unix milliseconds of the newest one."""

    body: bytes
    samples: int
    newest_ms: int


class Window(NamedTuple):
    """Rows that are sent together. Shards are independent of each other. In a shard the order must be kept."""

    shards: tuple[tuple[WindowRequest, ...], ...]
    samples: int
    expired: int
    """Number of samples that were too old to be sent."""
    oldest_ms: int
    """Unix milliseconds of the oldest sample that is sent. 0 without one."""
    end: Position
    again: bool = False
    """Whether an earlier process may already have sent these requests."""


@dataclass
class _Shard:
    requests: list[WindowRequest] = field(default_factory=list)
    parts: list[memoryview] = field(default_factory=list)
    samples: int = 0
    """Number of samples in `parts`."""
    bytes: int = 0
    newest_ms: int = 0

    def add(self, parts: list[memoryview], samples: int, at: int) -> None:
        """Add a part of a row."""
        size = sum(map(len, parts))
        if self.bytes + size > MAX_REQUEST_BYTES:
            self.finish()
        self.parts += parts
        self.bytes += size
        self.samples += samples
        self.newest_ms = max(self.newest_ms, at)

    def finish(self) -> None:
        """Make a request of the added parts."""
        if self.parts:
            self.requests.append(WindowRequest(compressed(self.parts), self.samples, self.newest_ms))
        self.parts, self.samples, self.bytes = [], 0, 0


class WindowReader:
    """The reading position in the queue. `sizes` has the bytes of each segment, and the queue's writer updates it."""

    def __init__(self, folder: Path, sizes: Mapping[int, int]) -> None:
        self._folder, self._sizes = folder, sizes
        self._at = Position(0, 0)
        self._segment: SegmentReader | None = None
        self._templates: dict[int, RowTemplate] = {}
        self._ends: dict[int, int] = {}
        """Byte at which each damaged segment ends, by number."""

    def seek(self, to: Position) -> None:
        """Read from position `to` on."""
        self.close()
        self._at = to

    def read(self, since_ms: int, shards: int, samples: int, until: Position | None = None) -> Window | None:
        """Return the next rows, up to `until`, or None; see ShipQueue.read."""
        filling = [_Shard() for _ in range(shards)]
        total = expired = oldest = rows = 0
        while (segment := self._current()) is not None:
            full = False
            try:
                for record in segment.records(self._end_of(self._at.segment)):
                    if isinstance(record, Definition):
                        self._templates[record.layout] = RowTemplate(record.labels)
                    elif record.timestamp_ms < since_ms:
                        expired += record.samples
                    else:
                        shard = filling[record.shard % shards]
                        if shard.samples and shard.samples + record.samples > samples:
                            full = True
                            break
                        self._take(record, shard, samples)
                        total += record.samples
                        oldest = min(oldest or record.timestamp_ms, record.timestamp_ms)
                    self._at = Position(self._at.segment, segment.offset)
                    rows += 1
                    if rows >= MAX_ROWS or (until and self._at >= until):
                        full = True
                        break
            except CorruptSegment as error:
                self._cut_off(error, segment.offset)
            segment.offset = self._at.offset  # a row that did not fit is read again
            if full or not self._next():
                break
        for shard in filling:
            shard.finish()
        if not total and not expired:
            return None
        requests = tuple(tuple(shard.requests) for shard in filling if shard.requests)
        return Window(requests, total, expired, oldest, self._at, until is not None)

    def count(self) -> int:
        """Return the number of samples from the position to the end of the queue."""
        found = 0
        for number in sorted(n for n in self._sizes if n >= self._at.segment):
            found += self._count(number, self._at.offset if number == self._at.segment else 0)
        return found

    def skip(self, number: int) -> int:
        """Move past a segment that will be deleted. Return the number of its samples that were not read yet."""
        if self._at.segment > number:
            return 0
        lost = self._count(number, self._at.offset if self._at.segment == number else 0)
        self.seek(Position(number + 1, 0))
        return lost

    def close(self) -> None:
        """Close the open segment."""
        if self._segment:
            self._segment.close()
        self._segment = None
        self._templates.clear()

    def _take(self, row: Row, shard: _Shard, samples: int) -> None:
        """Add a row to its shard. A row that is larger than a request is split."""
        template = self._templates[row.layout]
        count = len(template)
        values = stale_values(count) if row.stale else row.values()
        data, starts = template.write(row.timestamp_ms, values)
        picked = row.ended().tolist() if row.stale else range(count)
        step = max(1, min(samples, MAX_REQUEST_BYTES * count // max(1, len(data))))
        for first in range(0, len(picked), step):
            chosen = picked[first : first + step]
            if shard.samples + len(chosen) > samples:
                shard.finish()
            if row.stale:
                parts = [data[starts[i] : starts[i + 1]] for i in chosen]
            else:
                parts = [data[starts[chosen[0]] : starts[chosen[-1] + 1]]]
            shard.add(parts, len(chosen), row.timestamp_ms)

    def _current(self) -> SegmentReader | None:
        """Return the segment at the position. Open it and read its layouts if it is not open."""
        while self._segment is None:
            usable = (n for n in self._sizes if n >= self._at.segment and self._end_of(n))
            number = min(usable, default=None)
            if number is None:
                return None
            if number != self._at.segment:
                self._at = Position(number, 0)
            try:
                segment = SegmentReader(path_of(self._folder, number))
            except (OSError, CorruptSegment) as error:
                self._cut_off(error, 0)
                continue
            try:
                for record in segment.records(min(self._at.offset, self._end_of(number))):
                    if isinstance(record, Definition):
                        self._templates[record.layout] = RowTemplate(record.labels)
            except CorruptSegment as error:
                self._cut_off(error, segment.offset)
            self._at = Position(number, segment.offset)
            self._segment = segment
        return self._segment

    def _next(self) -> bool:
        """Move to the next segment. Return False if there is none: the last one is still being written."""
        if not any(number > self._at.segment for number in self._sizes):
            return False
        self.seek(Position(self._at.segment + 1, 0))
        return True

    def _end_of(self, number: int) -> int:
        return min(self._sizes[number], self._ends.get(number, self._sizes[number]))

    def _cut_off(self, error: Exception, offset: int) -> None:
        """Let the current segment end at `offset`, where it is damaged. Later bytes cannot be read reliably."""
        log.warning("remote write: %s", error)
        self._ends[self._at.segment] = offset

    def _count(self, number: int, offset: int) -> int:
        found = 0
        try:
            segment = SegmentReader(path_of(self._folder, number))
        except (OSError, CorruptSegment):  # `read` logs it
            return 0
        try:
            for record in segment.records(self._end_of(number)):
                if isinstance(record, Row) and segment.offset > offset:
                    found += record.samples
        except CorruptSegment:
            pass
        finally:
            segment.close()
        return found
