"""The embedded series store: it holds scraped and recorded samples, and queries read them.

Concurrency: one thread appends (the event loop that scrapes), one thread tidies (see tidy.py), any number read. The
first two hold `writing` for moments, around every change of a block. `_lock` guards the table of series and the cached
plans. The writer holds it when a source's layout changes or data expires. A reader holds it while it turns matchers
into a plan. A plan is immutable. Reading by a plan needs no lock, and sees every row that was complete when the chunk's
count was read.

A change of layout touches two blocks: the new block gets a row, and the old block gets an end row of the same time. A
reader that saw only the end row would take living series for stale. Therefore `_version` counts these changes, and a
read is repeated if the count changed during it (see store_reader.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from collectors.exposition.interner import Interner
from collectors.samples import FloatArray, Layout, Metadata, Series
from controlplane.metrics.series.layout_series import compact, names_of
from controlplane.metrics.series.source import WRITTEN, SeriesSource
from controlplane.metrics.series.store_limits import StoreLimits, refused_of
from controlplane.metrics.series.store_reader import LOCK_FREE_READS, Answer, StoreReader
from controlplane.metrics.series.store_stats import StoreStats
from controlplane.metrics.storage.block import Block
from controlplane.metrics.storage.chunk import PackedChunk
from controlplane.metrics.storage.eras import Era
from controlplane.metrics.storage.records import Description, digest, layout_body
from controlplane.metrics.storage.recovery import open_folder
from controlplane.metrics.storage.space import Space

__all__ = ["DAY_S", "SeriesStore", "StoreLimits", "StoreStats"]

EXPIRY_EVERY_MS = 60_000
"""Milliseconds of sample time between two searches for expired chunks, in a store in memory. Chosen."""

SLICE_COST = 5_000
"""Columns that are forgotten before others get the lock; some 10 ms."""
BLOCK_COST = 100
"""Columns in whose time a block is forgotten that has none."""
BREATH_S = 0.001
"""How long the lock is left to others: whoever gives it back and asks again at once would get it before them."""

SHARED_BYTES = 4 * 2**20
"""Approximate limit of the memory for parts that layouts share, of layouts that do not come packed. Chosen."""

DAY_S = 86_400.0

LATEST_MS = 253_402_300_799_999
"""Latest time accepted, in unix milliseconds: the end of the year 9999. Sums of such times fit in int64."""


class SeriesStore(StoreReader):
    """Columnar series store. Implements collectors.samples.SampleSink."""

    def __init__(
        self,
        retention_s: float = DAY_S,
        limits: StoreLimits | None = None,
        retention_recorded_s: float = 35 * DAY_S,
        space: Space | None = None,
    ) -> None:
        """`space` keeps the rows. The default is memory."""
        super().__init__()
        self._limits = limits or StoreLimits()
        self._retention_ms = int(retention_s * 1000)
        self._recorded_ms = int(max(retention_recorded_s, retention_s) * 1000)
        self.space = space or Space()
        self.writing = threading.Lock()
        self.sources: dict[str, SeriesSource] = {}
        self._interner = Interner(SHARED_BYTES)
        self._next_layout = 1
        self._appended = self._out_of_order = self._dropped = self._evicted = 0
        self._newest_ms: int | None = None
        self._expired_at_ms = 0
        self._version = 0
        self._began_ms = 0
        """Unix milliseconds at which the current era began."""

    @classmethod
    def in_folder(
        cls, folder: Path, retention_s: float, limits: StoreLimits | None, retention_recorded_s: float
    ) -> SeriesStore:
        """Open a store whose rows are in files, with the rows of earlier runs. Blocking.

        Raises StorageError when the folder cannot be used, StorageLocked when another process uses it.
        """
        store = cls(retention_s, limits, retention_recorded_s)
        space = store.space = open_folder(folder, store._adopt, store.table.eras)
        store._next_layout = space.last_layout + 1
        for era in store.table.eras:
            store._began_ms, store._newest_ms = era.begins_ms, era.begins_ms - 1
        for writer in store.sources.values():
            store._go_on(writer)
        return store

    def _go_on(self, writer: SeriesSource) -> None:
        """Restore the state of a source of an earlier run: its current block and the time of its last row.

        Its layout object is gone. The first row finds the block by the layout's digest.
        """
        era = self.table.eras.current
        written = [block for block in writer.blocks.values() if any(chunk.count for chunk in block.chunks)]
        past = [block.newest_ms for block in written if block.era < era]
        written = [block for block in written if block.era == era]
        if past:
            writer.last_ms, writer.ended = min(max(past), self._began_ms - 1), True
        if not written:
            return
        ended = {block.number: block.ended for block in written}
        # At a change of layout the old block gets an end row at the time of the new block's first row.
        current = writer.current = max(written, key=lambda block: (block.newest_ms, not ended[block.number]))
        writer.last_ms, writer.ended = current.newest_ms, ended[current.number]
        self._newest_ms = max(writer.last_ms, self._newest_ms or writer.last_ms)
        for block in written:
            if block is not current and not ended[block.number] and block.newest_ms < writer.last_ms:
                # The block's end row was lost when the process died, or to a damaged disk.
                block.append(writer.last_ms, None, self.space.cut)

    def _adopt(self, description: Description, key: bytes) -> Block:
        """Add a layout of an earlier run. Return its block."""
        block = self.table.add(description)
        writer = self.sources.setdefault(description.source, SeriesSource(description.source))
        writer.blocks[key] = block
        return block

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Store one row; see SampleSink. `values` is [columns], one for each of `layout.raw`.

        A row beyond the year 9999 is dropped and counted as out of order.
        """
        assert len(values) == len(layout.raw), "a row has one value per series of its layout"
        writer = self.sources.get(source) or SeriesSource(source)
        if not self._in_order(writer, timestamp_ms):
            return
        with self.writing:
            block = writer.current if writer.layout is layout else None
            if block is not None:
                block.append(timestamp_ms, values, self.space.cut)
        if block is None:
            with self._lock:
                self._switch(writer, layout, timestamp_ms, values)
                self._version += 1
        self._appended += len(values)
        writer.ended = False
        if not self.space.durable and timestamp_ms - self._expired_at_ms >= EXPIRY_EVERY_MS:
            self.expire(timestamp_ms)

    def end(self, source: str, timestamp_ms: int) -> None:
        """Mark every series of the source's last layout stale; see SampleSink. Repeating it does nothing."""
        writer = self.sources.get(source)
        if writer is None or writer.ended or (writer.current is None and writer.layout is None):
            return
        if not self._in_order(writer, timestamp_ms):
            return
        if writer.current is None and writer.layout is not None:
            # The clock was set after the source's last row. The end row is the source's first row in this era.
            with self._lock:
                self._switch(writer, writer.layout, timestamp_ms, None)
                self._version += 1
        else:
            with self.writing:
                if writer.current is not None:
                    writer.current.append(timestamp_ms, None, self.space.cut)
        writer.ended = True

    def begin_era(self, now_ms: int, hide_ms: int = 0) -> bool:
        """Go on at `now_ms` after the clock was set. Return whether a new era began that hides rows (see eras.py).

        No era begins when the clock was set forward and was never set back. Rows of earlier eras are hidden from
        `now_ms - hide_ms` on.
        """
        eras, newest_ms = self.table.eras, self._newest_ms
        if newest_ms is None or (newest_ms < now_ms and not eras.current):
            return False
        era = Era(eras.current + 1, now_ms, now_ms - hide_ms, newest_ms)
        with self._lock:
            with self.writing:
                self.space.begin(era)
                eras.add(era)
            self._version += 1
        self._began_ms, self._newest_ms = now_ms, min(newest_ms, now_ms - 1)
        for writer in list(self.sources.values()):
            writer.current = None
            writer.last_ms = None if writer.last_ms is None else min(writer.last_ms, now_ms - 1)
        return True

    @property
    def era(self) -> int:
        """Number of the current era, 0 for the first; see `begin_era`."""
        return self.table.eras.current

    def newest_ms(self, source: str) -> int | None:
        """Return the unix milliseconds of a source's last row, of this era or before its begin. None without a row."""
        writer = self.sources.get(source)
        return writer.last_ms if writer else None

    @property
    def last_row_at(self) -> float | None:
        """Unix second of the newest row that has this machine's time, or None without one.

        Rows that other programs write are left out: they have times of their own, which may be in the future.
        """
        own = [w.last_ms for w in self.sources.values() if w.last_ms is not None and not w.name.startswith(WRITTEN)]
        return max(own) / 1000 if own else None

    def has_room_for(self, series: Series) -> bool:
        """Return whether the limit of all series admits this one. A known series is always admitted."""
        with self._lock:
            return self.table.id_of(series) is not None or len(self.table) < self._limits.max_series

    def describe(self, families: Mapping[str, Metadata]) -> None:
        """Add type and help of metric families that are in no layout."""
        with self._lock:
            self.table.describe(families)

    def _in_order(self, writer: SeriesSource, timestamp_ms: int) -> bool:
        late = writer.last_ms is not None and timestamp_ms <= writer.last_ms
        if late or not -LATEST_MS <= timestamp_ms <= LATEST_MS:
            self._out_of_order += 1
            return False
        writer.last_ms = timestamp_ms
        self._newest_ms = max(timestamp_ms, self._newest_ms or timestamp_ms)
        return True

    def _switch(self, writer: SeriesSource, layout: Layout, timestamp_ms: int, values: FloatArray | None) -> None:
        """Make `layout` the source's current layout. An equal earlier layout's block is reused. Call it under the lock.

        The order matters to readers in other processes: they see the switch in the journal before the end row.
        """
        self.sources[writer.name] = writer
        body = layout_body(layout)
        key = digest(body, self.table.eras.current)
        old, block = writer.current, writer.blocks.get(key)
        if block is None:
            self._make_room(writer, len(layout.raw))
            block = writer.blocks[key] = self._register(writer, layout, body)
        with self.writing:
            if block is not old:
                self.space.switch(block)
            block.append(timestamp_ms, values, self.space.cut)
            if block is not old and old is not None and not writer.ended:
                # An end row closes the old block. A series that goes on has a sample of this time in the new block,
                # which wins over the end row. The other series are stale from here on.
                old.append(timestamp_ms, None, self.space.cut)
        writer.current, writer.layout = block, layout

    def _register(self, writer: SeriesSource, layout: Layout, body: bytes) -> Block:
        found = self.table.find(layout)
        refused, writer.refused = refused_of(layout, found, self._limits, self.table, self._living(writer))
        self._dropped += len(refused)
        number, self._next_layout = self._next_layout, self._next_layout + 1
        kept = compact(layout, self._interner)
        description = Description(number, writer.name, kept, tuple(refused), self.table.eras.current)
        block = self.table.add(description, found)
        current = (w.layout.metadata for w in self.sources.values() if w.layout)
        self.table.limit_metadata(chain(current, (layout.metadata,)))
        self._plans.drop(names_of(layout))
        with self.writing:
            self.space.describe(description, body)
        return block

    def _living(self, writer: SeriesSource) -> int:
        """Return the number of a source's series, over all its layouts."""
        return self.table.count_series([block.number for block in writer.blocks.values()])

    def _make_room(self, writer: SeriesSource, columns: int) -> None:
        """Drop the source's oldest layouts if one more would exceed the limit of columns. Call it under the lock.

        It drops no more than the new layout needs, because the caller of `append` waits for it.
        """
        limit = self._limits.max_columns_per_source
        held = sum(block.columns for block in writer.blocks.values())
        if held + columns <= limit:
            return
        evicted = []
        others = [block for block in writer.blocks.values() if block is not writer.current]
        for block in sorted(others, key=lambda block: block.newest_ms):
            if held + columns <= limit:
                break
            held -= block.columns
            evicted.append(block)
        self._evicted += len(evicted)
        self._forget(evicted)

    def expire(self, now_ms: int) -> int:
        """Drop chunks, then blocks, then series that are past their retention. Return the number of dropped chunks.

        `append` to a store in memory calls this about once a minute of sample time.
        """
        self._expired_at_ms = now_ms
        dropped = 0
        emptied: list[Block] = []
        for writer in list(self.sources.values()):
            oldest_ms = now_ms - (self._recorded_ms if writer.recorded else self._retention_ms)
            for block in list(writer.blocks.values()):
                if any(chunk.first_ms < oldest_ms for chunk in block.chunks[:1]):
                    dropped += self.drop_chunks(block, oldest_ms)
                if not block.chunks:
                    emptied.append(block)
        for number, some in enumerate(_slices(emptied)):
            if number:
                time.sleep(BREATH_S)
            self._forget(some, empty=True)
        return dropped

    def drop_chunks(self, block: Block, oldest_ms: int) -> int:
        """Drop a block's chunks that only have rows older than `oldest_ms`. Return their number."""
        with self.writing:
            gone = block.drop(lambda chunk: bool(chunk.count) and chunk.last_ms < oldest_ms)
            self.space.forget(chunks=gone)
        return len(gone)

    def drop_file(self, number: int) -> int:
        """Drop the packed chunks of one file. Return their number."""
        return self.drop_packed(lambda chunk: chunk.file == number)

    def drop_packed(self, gone: Callable[[PackedChunk], bool]) -> int:
        """Drop the packed chunks of all sources for which `gone` is true. Return their number."""
        dropped = 0
        for writer in list(self.sources.values()):
            for block in list(writer.blocks.values()):
                with self.writing:
                    chunks = block.drop(lambda chunk: isinstance(chunk, PackedChunk) and gone(chunk))
                    self.space.forget(chunks=chunks)
                dropped += len(chunks)
        return dropped

    def _forget(self, blocks: Sequence[Block], *, empty: bool = False) -> None:
        """Remove blocks with their chunks, and the series that no other block has. If `empty`, only empty blocks."""
        with self._lock:
            numbers = []
            for block in blocks:
                with self.writing:
                    if (empty and block.chunks) or block.number not in self.table.blocks:
                        continue
                    self._detach(self.sources[block.source], block)
                    self.space.forget(chunks=block.drop(lambda _: True), layouts=[block.number])
                numbers.append(block.number)
            if numbers:
                self._plans.drop(self.table.remove(numbers))

    def _detach(self, writer: SeriesSource, block: Block) -> None:
        writer.blocks = {key: other for key, other in writer.blocks.items() if other is not block}
        if writer.current is block:
            writer.current = writer.layout = None
        if not writer.blocks:
            del self.sources[writer.name]

    def _steady(self, look: Callable[[], Answer]) -> Answer:
        for _ in range(LOCK_FREE_READS):
            version = self._version
            answer = look()
            with self._lock:
                if version == self._version:
                    return answer
        with self._lock:
            return look()

    def refused(self) -> dict[str, int]:
        """Return the number of series that a limit refused in each source's current layout, if it is not 0."""
        return {name: source.refused for name, source in list(self.sources.items()) if source.refused}

    def stats(self) -> StoreStats:
        """Return the store's own counters."""
        blocks = [block for writer in list(self.sources.values()) for block in list(writer.blocks.values())]
        oldest = [chunk.first_ms for block in blocks for chunk in block.chunks[:1] if chunk.count]
        return StoreStats(
            series=len(self.table),
            sources=len(self.sources),
            blocks=len(blocks),
            bytes=self.space.nbytes,
            samples_appended=self._appended,
            rows_out_of_order=self._out_of_order,
            series_dropped=self._dropped,
            layouts_evicted=self._evicted,
            oldest_ms=min(oldest) if oldest else None,
            newest_ms=self._newest_ms,
        )


def _slices(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Part blocks so that no part takes long to forget."""
    some: list[Block] = []
    cost = 0
    for block in blocks:
        some.append(block)
        cost += BLOCK_COST + block.columns
        if cost >= SLICE_COST:
            yield some
            some, cost = [], 0
    if some:
        yield some
