"""The queue of one endpoint: rows wait in memory until the next flush, then on disk until the server accepts them.

The event loop calls `append` and `end`, which only keep a reference. `open`, `flush`, `read`, `acknowledge` and `close`
work on files, and one thread at a time calls them. Both sides share the rows that were appended since the last flush.
The lock guards these rows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import zlib
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from collectors.samples import FloatArray, Layout
from controlplane.metrics.write.shipping.segments import (
    MAGIC,
    Position,
    layout_record,
    numbers_in,
    packed_labels,
    path_of,
    row_record,
    stale_record,
)
from controlplane.metrics.write.shipping.selection import Selection, Shipped
from controlplane.metrics.write.shipping.window import Window, WindowReader

log = logging.getLogger(__name__)

MAX_BUFFER_BYTES = 64 * 2**20
"""Maximum bytes of rows that are not written yet. Chosen: minutes of a large fleet on a disk that is full or stuck."""
SEGMENT_BYTES = 32 * 2**20
"""Length of a segment in bytes at which the next one begins, in a large queue. Chosen."""
SEGMENTS = 8
"""Least number of segments of a full queue. Chosen: a full queue loses a whole segment."""
FORGET_MS = 900_000
"""Milliseconds after which a source that ended is forgotten. If it comes back, its series count as new. Chosen."""
_POSITION = "position"


class _Event(NamedTuple):
    source: str
    layout: Layout | None
    """Layout of the row. None means that the source ended."""
    timestamp_ms: int
    values: FloatArray | None

    @property
    def size(self) -> int:
        return 64 + (self.values.nbytes if self.values is not None else 0)


class _Writer(NamedTuple):
    """A source whose rows are in the queue."""

    shipped: Shipped
    id: int
    packed: bytes
    last_ms: int
    live: bool


class Former(NamedTuple):
    """A source that an earlier process left without an end."""

    layout: Layout
    last_ms: int
    """Unix milliseconds of its last row."""


class _InFlight(NamedTuple):
    """The end and the parameters of a window. The same parameters make the same requests from the same rows."""

    end: Position
    shards: int
    samples: int


class ShipQueue:
    """One endpoint's rows, in a folder of its own. Memory and disk are bounded: the oldest rows are dropped."""

    def __init__(
        self, folder: Path, selection: Selection, max_bytes: int, former: Mapping[str, Former] | None = None
    ) -> None:
        """`former` are an earlier process's sources, by name. If the folder is of an earlier process too, their series
        end as if this process had written them. Otherwise none of their rows was sent.
        """
        self.dropped: Counter[str] = Counter()
        """Number of dropped samples by reason: `buffer`, `size`, `age`."""
        self.pending = 0
        """Number of samples on disk that are not acknowledged."""
        self.newest_ms = 0
        """Unix milliseconds of the newest row on disk. 0 without a row."""
        self._folder, self._selection, self._max_bytes = folder, selection, max_bytes
        self._segment_bytes = max(1, min(SEGMENT_BYTES, max_bytes // SEGMENTS))
        self._events: deque[_Event] = deque()
        self._buffered = 0
        self._lock = threading.Lock()
        self._writers: dict[str, _Writer] = {}
        self._former = dict(former or {})
        """Sources of the earlier process that have had no event yet."""
        self._next_id = 0
        self._file: int | None = None
        self._number = 0
        self._defined: set[int] = set()
        self._sizes: dict[int, int] = {}
        self._reader = WindowReader(folder, self._sizes)
        self._acknowledged = Position(0, 0)
        self._in_flight: _InFlight | None = None
        """The window that an earlier process did not acknowledge."""
        self._failing = self._forgetful = False

    # --- on the event loop

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Keep a reference to a row; see SampleSink. `values` is float64 of shape [columns]. The cost is constant."""
        self._remember(_Event(source, layout, timestamp_ms, values))

    def end(self, source: str, timestamp_ms: int) -> None:
        """Note that a source ended; see SampleSink."""
        self._remember(_Event(source, None, timestamp_ms, None))

    def _remember(self, event: _Event) -> None:
        with self._lock:
            self._events.append(event)
            self._buffered += event.size
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self._buffered > MAX_BUFFER_BYTES:
            oldest = self._events.popleft()
            self._buffered -= oldest.size
            self.dropped["buffer"] += len(oldest.values) if oldest.values is not None else 0

    # --- in the thread of the files

    @property
    def size_bytes(self) -> int:
        """Size of the queue on disk."""
        return sum(list(self._sizes.values()))  # a copy, because other threads read this

    def open(self) -> None:
        """Open the queue of an earlier process. A record that was cut short is left out with a warning.

        Raises OSError when the folder cannot be used.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        numbers = numbers_in(self._folder)
        if not numbers and not (self._folder / _POSITION).exists():
            self._former = {}
        for number in numbers:
            self._sizes[number] = path_of(self._folder, number).stat().st_size
        self._number = max(self._sizes, default=0)
        self._acknowledged, in_flight = self._stored_positions()
        self._in_flight = in_flight if in_flight and in_flight.end > self._acknowledged else None
        self._forget_segments()
        self._reader.seek(self._acknowledged)
        self.pending = self._reader.count()

    def flush(self) -> None:
        """Write the rows since the last flush. If the disk cannot be written, log it once and keep them in memory."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
            self._buffered = 0
        done = 0
        try:
            while done < len(events):
                done += self._write(events, done)
        except OSError as error:
            with self._lock:
                self._events.extendleft(reversed(events[done:]))
                self._buffered += sum(event.size for event in events[done:])
                self._drop_oldest()
            if not self._failing:
                log.error("remote write: %s: %s; samples wait in memory", self._folder, error.strerror)
            self._failing = True
        else:
            if self._failing and events:
                log.info("remote write: %s can be written to again", self._folder)
                self._failing = False
        self._shrink()

    def read(self, now_ms: int, shards: int, samples: int, age_ms: int) -> Window | None:
        """Return the next rows as requests of at most `samples` samples, or None. Acknowledge the last window first.

        Rows older than `age_ms` are dropped and counted. Rows of one source are in one shard, in order.

        The extent of a window is stored before the window is returned. After a crash the next process makes the same
        requests again. The server accepted each request as a whole or not at all, and refuses the accepted ones. If
        they were mixed with later rows, the later rows would be refused too.
        """
        until = None
        if self._in_flight:
            until, shards, samples = self._in_flight
            self._in_flight = None
        window = self._reader.read(now_ms - age_ms, shards, samples, until)
        if window:
            if window.expired:
                self.dropped["age"] += window.expired
            self._store_positions(_InFlight(window.end, shards, samples))
        return window

    def acknowledge(self, window: Window) -> None:
        """Remove a window's rows: the server accepted them, or refused them for good."""
        self.pending -= min(self.pending, window.samples + window.expired)
        self._acknowledged = max(self._acknowledged, window.end)
        self._store_positions(None)
        self._forget_segments()

    def close(self) -> None:
        """Write the remaining rows, and close the files."""
        self.flush()
        self._close_file()
        self._reader.close()

    # --- writing

    def _write(self, events: list[_Event], first: int) -> int:
        """Write events to one segment until it is full. Return their number. Raises OSError if none was written."""
        if self._file is None:
            self._begin_segment()
        writers, former = dict(self._writers), dict(self._former)
        out: list[bytes] = []
        written, size, count = 0, self._sizes[self._number], 0
        for event in events[first:]:
            records, samples = self._records(event)
            out += records
            written += samples
            count += 1
            size += sum(map(len, records))
            if size > self._segment_bytes:
                break
        try:
            self._put(b"".join(out))
        except OSError:
            # Restore the state before. The next attempt begins a new segment, in which no layout is defined.
            self._writers, self._former = writers, former
            self._close_file()
            raise
        self.pending += written
        if size > self._segment_bytes:
            self._close_file()
        return count

    def _records(self, event: _Event) -> tuple[list[bytes], int]:
        source, layout, at, values = event
        shard = zlib.crc32(source.encode())
        before = self._writers.get(source) or self._going_on(source)
        if layout is None or values is None:
            if before is None or not before.live:
                return [], 0
            at = max(at, before.last_ms + 1)  # a second value at one time would be refused
            self._writers[source] = before._replace(live=False, last_ms=at)
            return self._ended(before, shard, at, range(len(before.shipped.labels)))
        if before and at <= before.last_ms:
            return [], 0  # the store drops it too
        out: list[bytes] = []
        samples = 0
        writer = before
        if writer is None or writer.shipped.layout is not layout:
            shipped = self._selection.of(source, layout)
            writer = self._writer(shipped, at)
            if before and before.live:
                kept = set(shipped.labels)
                gone = [i for i, labels in enumerate(before.shipped.labels) if labels not in kept]
                out, samples = self._ended(before, shard, at, gone)
        self._writers[source] = writer._replace(last_ms=at, live=True)
        if not writer.shipped.labels:
            return out, samples
        out += self._definition(writer)
        out.append(row_record(writer.id, shard, at, writer.shipped.values(values)))
        self.newest_ms = max(self.newest_ms, at)
        return out, samples + len(writer.shipped.labels)

    def _writer(self, shipped: Shipped, last_ms: int) -> _Writer:
        self._next_id += 1
        return _Writer(shipped, self._next_id - 1, packed_labels(shipped.labels), last_ms, True)

    def _going_on(self, source: str) -> _Writer | None:
        former = self._former.pop(source, None)
        return self._writer(self._selection.of(source, former.layout), former.last_ms) if former else None

    def _ended(self, writer: _Writer, shard: int, at: int, gone: range | list[int]) -> tuple[list[bytes], int]:
        if not gone:
            return [], 0
        return [*self._definition(writer), stale_record(writer.id, shard, at, gone)], len(gone)

    def _definition(self, writer: _Writer) -> list[bytes]:
        if writer.id in self._defined:
            return []
        self._defined.add(writer.id)
        return [layout_record(writer.id, writer.packed)]

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            # Partly written records must not be read after a restart, when only the file's size is known.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._sizes[self._number])
            raise
        self._sizes[self._number] += len(data)

    def _begin_segment(self) -> None:
        number = self._number + 1
        path = path_of(self._folder, number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, MAGIC)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._file, self._number = file, number
        self._sizes[number] = len(MAGIC)

    def _close_file(self) -> None:
        """End the segment."""
        if self._file is not None:
            os.close(self._file)
        self._file = None
        self._defined.clear()

    # --- bounds

    def _shrink(self) -> None:
        now_ms = self.newest_ms
        gone = [s for s, w in self._writers.items() if not w.live and now_ms - w.last_ms > FORGET_MS]
        for source in gone:
            del self._writers[source]
        while self.size_bytes > self._max_bytes and len(self._sizes) > 1:
            oldest = min(self._sizes)
            lost = self._reader.skip(oldest)
            self.dropped["size"] += lost
            self.pending -= min(self.pending, lost)
            self._acknowledged = max(self._acknowledged, Position(oldest + 1, 0))
            self._forget_segments()

    def _forget_segments(self) -> None:
        for number in [n for n in self._sizes if n < self._acknowledged.segment]:
            path_of(self._folder, number).unlink(missing_ok=True)
            del self._sizes[number]

    def _store_positions(self, in_flight: _InFlight | None) -> None:
        temporary = self._folder / f"{_POSITION}.new"
        numbers = [*self._acknowledged, *((*in_flight.end, *in_flight[1:]) if in_flight else ())]
        try:
            temporary.write_text(" ".join(str(n) for n in numbers) + "\n", encoding="ascii")
            temporary.replace(self._folder / _POSITION)
            self._forgetful = False
        except OSError as error:
            if not self._forgetful:
                log.warning("remote write: %s: %s; a restart now would send twice", temporary, error.strerror)
            self._forgetful = True

    def _stored_positions(self) -> tuple[Position, _InFlight | None]:
        """Return the acknowledged position, and the window in flight."""
        try:
            numbers = [int(text) for text in (self._folder / _POSITION).read_text(encoding="ascii").split()]
            acknowledged, rest = Position(*numbers[:2]), numbers[2:]
            if rest:
                segment, offset, shards, samples = rest
                return acknowledged, _InFlight(Position(segment, offset), max(1, shards), max(1, samples))
            return acknowledged, None
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):
            log.warning("remote write: %s is damaged; what is there is sent again", self._folder / _POSITION)
        return Position(0, 0), None
