"""The embedded series store: where scraped and recorded samples land, and where queries read them.

Concurrency: one writer (the event loop that scrapes), any number of readers in worker threads. Appending a row to a
known layout takes no lock (see blocks.py for the invariant). The lock guards what describes the series - the index,
the table of series, the cached plans - and is held briefly: by the writer when a source's layout changes or data
expires, by a reader while it turns matchers into a plan. A plan is immutable; reading by it needs no lock, and sees
every row that was complete when a chunk's count was read.

A change of layout touches two blocks: the old one gets an end row, the new one a row at the same time. A reader that
saw only the first would take living series for stale, so `_version` counts such changes, and a read during which it
moved is done again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from collectors.samples import FloatArray, Labels, Layout, Metadata, Series
from controlplane.metrics.blocks import Block
from controlplane.metrics.budget import Budget
from controlplane.metrics.index import METRIC_NAME, LabelIndex, accepted_values
from controlplane.metrics.matchers import Matcher
from controlplane.metrics.plan import Plan, Segment
from controlplane.metrics.samples import SampleSet

RECORDED = ("rule:", "ledger:")
"""Prefixes of sources whose series are recorded, not scraped: few, and kept longer."""

EXPIRY_EVERY_MS = 60_000
"""How often appending looks for expired chunks."""

MAX_PLANS = 1024
"""Plans kept: several times the selectors of the rules and of the console's panels."""

MAX_FAMILIES = 50_000
"""Metric families whose type and help are remembered: a fleet has some thousands."""

LOCK_FREE_READS = 5
"""Reads that a change of layout may spoil before one holds the writer up instead."""

DAY_S = 86_400.0


@dataclass(frozen=True)
class StoreLimits:
    """How many series are taken. Series that exist keep getting samples; new ones beyond a limit are dropped."""

    max_series: int = 1_000_000
    max_series_per_source: int = 50_000
    max_columns_per_source: int = 200_000
    """Over all layouts of one source; beyond it its oldest layouts are dropped before their retention ends. A target
    whose labels change at every scrape costs about 1 kB a column, forever, without it."""


@dataclass(frozen=True)
class StoreStats:
    """The store's own counters, for `/metrics`."""

    series: int
    sources: int
    blocks: int
    bytes: int
    """Allocated for samples; touched pages may be fewer."""
    samples_appended: int
    rows_out_of_order: int
    """Rows dropped because the source had a row at that time or later."""
    series_dropped: int
    """Columns and views refused by a cardinality limit or because another in the layout has the same labels."""
    layouts_evicted: int
    """Layouts whose samples were dropped early because their source changes its series too often."""
    oldest_ms: int | None
    newest_ms: int | None


@dataclass
class _Source:
    """One writer: its current layout, and a block for each layout that it ever had and that still has rows."""

    retention_ms: int
    layout: Layout | None = None
    current: Block | None = None
    blocks: dict[tuple[object, object], Block] = field(default_factory=dict)
    last_ms: int | None = None
    ended: bool = False
    series: set[int] = field(default_factory=set)


@dataclass
class _Entry:
    """One series: labels with `__name__`, and where its samples are. `segments` is replaced, never mutated."""

    series: Series
    labels: Labels
    segments: tuple[Segment, ...]


class SeriesStore:
    """In-memory columnar series store. Implements collectors.samples.SampleSink."""

    def __init__(
        self,
        retention_s: float = DAY_S,
        limits: StoreLimits | None = None,
        retention_recorded_s: float = 35 * DAY_S,
    ) -> None:
        self._limits = limits or StoreLimits()
        self._retention_ms = int(retention_s * 1000)
        self._recorded_ms = int(max(retention_recorded_s, retention_s) * 1000)
        self._lock = threading.RLock()
        self._sources: dict[str, _Source] = {}
        self._ids: dict[Series, int] = {}
        self._entries: dict[int, _Entry] = {}
        self._index = LabelIndex()
        self._next_id = 0
        self._plans: OrderedDict[tuple[Matcher, ...], Plan] = OrderedDict()
        self._metadata: dict[str, Metadata] = {}
        self._bytes = self._appended = self._out_of_order = self._dropped = self._evicted = 0
        self._oldest_ms: int | None = None
        self._newest_ms: int | None = None
        self._expired_at_ms = 0
        self._version = 0

    # -- writing -------------------------------------------------------------------------------------------------

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Store one row; see SampleSink. `values` has one element for each of `layout.raw`."""
        assert len(values) == len(layout.raw), "a row has one value per series of its layout"
        writer = self._sources.get(source)
        if writer is None:
            recorded = source.startswith(RECORDED)
            writer = self._sources[source] = _Source(self._recorded_ms if recorded else self._retention_ms)
        if not self._in_order(writer, timestamp_ms):
            return
        if writer.layout is layout and writer.current is not None:
            self._bytes += writer.current.append(timestamp_ms, values)
        else:
            with self._lock:
                block = self._switch(writer, layout, timestamp_ms)
                self._bytes += block.append(timestamp_ms, values)
                self._version += 1
        self._appended += len(values)
        writer.ended = False
        if timestamp_ms - self._expired_at_ms >= EXPIRY_EVERY_MS:
            self.expire(timestamp_ms)

    def end(self, source: str, timestamp_ms: int) -> None:
        """Mark every series of the source's last layout stale; see SampleSink. Repeating it does nothing."""
        writer = self._sources.get(source)
        if writer is None or writer.current is None or writer.ended or not self._in_order(writer, timestamp_ms):
            return
        self._bytes += writer.current.append(timestamp_ms, None)
        writer.ended = True

    def newest_ms(self, source: str) -> int | None:
        """Return the time of the source's last row in unix milliseconds, None where it has none."""
        writer = self._sources.get(source)
        return None if writer is None else writer.last_ms

    def has_room_for(self, series: Series) -> bool:
        """Tell whether the limit of series in all lets this one in."""
        return series in self._ids or len(self._ids) < self._limits.max_series

    def describe(self, families: Mapping[str, Metadata]) -> None:
        """Remember type and help of metric families that no layout tells; beyond MAX_FAMILIES none is added."""
        with self._lock:
            room = MAX_FAMILIES - len(self._metadata)
            new = {*[name for name in families if name not in self._metadata][: max(room, 0)]}
            self._metadata.update((n, m) for n, m in families.items() if n in self._metadata or n in new)

    def _in_order(self, writer: _Source, timestamp_ms: int) -> bool:
        if writer.last_ms is not None and timestamp_ms <= writer.last_ms:
            self._out_of_order += 1
            return False
        writer.last_ms = timestamp_ms
        self._newest_ms = max(timestamp_ms, self._newest_ms or timestamp_ms)
        if self._oldest_ms is None:
            self._oldest_ms = timestamp_ms
        return True

    def _switch(self, writer: _Source, layout: Layout, timestamp_ms: int) -> Block:
        """Make `layout` the source's current one, reusing the block of an equal layout that it had before.

        Called under the lock.
        """
        key = (layout.raw, layout.views)
        block = writer.blocks.get(key)
        if block is not writer.current or block is None:
            if writer.current is not None and not writer.ended:
                # An end row closes the old block: series that go on have a sample at this very time in the new one,
                # which wins over it; the others are stale from here.
                self._bytes += writer.current.append(timestamp_ms, None)
            if block is None:
                self._make_room(writer, len(layout.raw))
                block = writer.blocks[key] = Block(len(layout.raw))
                self._register(writer, layout, block)
        writer.current, writer.layout = block, layout
        return block

    def _make_room(self, writer: _Source, columns: int) -> None:
        """Drop the source's oldest layouts when a further one would be too many; half of them, as each time costs.

        Called under the lock.
        """
        limit = self._limits.max_columns_per_source
        held = sum(block.columns for block in writer.blocks.values())
        if held + columns <= limit:
            return
        evicted = set()
        for key, block in sorted(writer.blocks.items(), key=lambda item: item[1].newest_ms):
            if held + columns <= limit // 2 or block is writer.current:
                break
            held -= block.columns
            self._bytes -= sum(chunk.nbytes for chunk in block.chunks)
            evicted.add(block)
            del writer.blocks[key]
        self._evicted += len(evicted)
        if evicted:
            self._forget(evicted)

    def _register(self, writer: _Source, layout: Layout, block: Block) -> None:
        segments = [(s, Segment(block, (n,), 1.0)) for n, s in enumerate(layout.raw)]
        segments += [(v.series, Segment(block, v.columns, v.factor)) for v in layout.views]
        seen: set[Series] = set()
        for series, segment in segments:
            if series in seen or not self._admit(writer, series, segment):
                self._dropped += 1
            seen.add(series)
        self._metadata.update(layout.metadata)
        if len(self._metadata) > MAX_FAMILIES:  # a target that makes up names: what no layout of now has is forgotten
            current = [w.layout.metadata for w in self._sources.values() if w.layout is not None]
            self._metadata = {n: m for known in (*current, layout.metadata) for n, m in known.items()}
        self._plans.clear()

    def _admit(self, writer: _Source, series: Series, segment: Segment) -> bool:
        number = self._ids.get(series)
        known = number is not None and number in writer.series
        if not known and len(writer.series) >= self._limits.max_series_per_source:
            return False
        if number is None:
            if len(self._ids) >= self._limits.max_series:
                return False
            number, self._next_id = self._next_id, self._next_id + 1
            labels = tuple(sorted((*series.labels, (METRIC_NAME, series.name))))
            self._ids[series] = number
            self._entries[number] = _Entry(series, labels, ())
            self._index.add(number, labels)
        entry = self._entries[number]
        entry.segments = (*entry.segments, segment)
        writer.series.add(number)
        return True

    def expire(self, now_ms: int) -> int:
        """Drop chunks, then blocks, then series that are past their retention. Return the bytes freed.

        Appending calls this about once a minute of sample time; a caller that appends nothing may call it itself.
        """
        self._expired_at_ms = now_ms
        freed, emptied = 0, set()
        for name, writer in list(self._sources.items()):
            for key, block in list(writer.blocks.items()):
                freed += block.drop_before(now_ms - writer.retention_ms)
                if not block.chunks:
                    emptied.add(block)
                    del writer.blocks[key]
                    if block is writer.current:
                        writer.current = writer.layout = None
            if not writer.blocks:
                del self._sources[name]
        self._bytes -= freed
        if emptied:
            self._forget(emptied)
        if freed:
            starts = [c.times[0] for w in self._sources.values() for b in w.blocks.values() for c in b.chunks[:1]]
            self._oldest_ms = int(min(starts)) if starts else None
        return freed

    def _forget(self, blocks: set[Block]) -> None:
        with self._lock:
            gone: set[int] = set()
            for number, entry in self._entries.items():
                if any(s.block in blocks for s in entry.segments):
                    entry.segments = tuple(s for s in entry.segments if s.block not in blocks)
                    if not entry.segments:
                        gone.add(number)
            for number in gone:
                del self._ids[self._entries.pop(number).series]
            if gone:
                self._index.remove(gone)
                for writer in self._sources.values():
                    writer.series -= gone
            self._plans.clear()

    # -- reading -------------------------------------------------------------------------------------------------

    def read(
        self, matchers: Sequence[Matcher], after_ms: int, until_ms: int, budget: Budget, *, stale: bool
    ) -> SampleSet:
        """Load the samples of matching series with `after_ms < time <= until_ms`. `stale` keeps staleness markers in.

        Raises QueryError for a refused pattern, and once the budget is spent.
        """
        for _ in range(LOCK_FREE_READS):
            with self._lock:
                version = self._version
            samples = self.plan(matchers).read(after_ms, until_ms, budget, stale=stale)
            with self._lock:
                if version == self._version:
                    return samples
        with self._lock:
            return self.plan(matchers).read(after_ms, until_ms, budget, stale=stale)

    def plan(self, matchers: Sequence[Matcher]) -> Plan:
        """Resolve matchers (all must hold) into a plan for reading. Raises QueryError for a refused pattern."""
        key = tuple(matchers)
        with self._lock:
            plan = self._plans.get(key)
            if plan is not None:
                self._plans.move_to_end(key)
                return plan
            existing = [self._index.values(m.name) if m.alternatives() is None else [] for m in key]
        accepted = [(m, accepted_values(m, values)) for m, values in zip(key, existing, strict=True)]
        with self._lock:
            # Values that appeared since are not accepted, so this plan may lag by one registration; the writer's
            # clearing of the plans makes that a matter of this one query, unless it happened in between.
            fresh = all(
                m.alternatives() is not None or len(self._index.values(m.name)) == len(values)
                for m, values in zip(key, existing, strict=True)
            )
            entries = [self._entries[int(i)] for i in self._index.select(accepted)]
            plan = Plan.of([(e.labels, e.segments) for e in entries])
            if fresh:
                self._plans[key] = plan
                while len(self._plans) > MAX_PLANS:
                    self._plans.popitem(last=False)
        return plan

    def series_in(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """Return the labels (with `__name__`) of matching series with data in `[start_ms, end_ms]`, sorted."""
        plan = self.plan(matchers)
        found: list[Labels] = []
        for group in plan.groups:
            if any(part.block.has_data(start_ms, end_ms) for part in group.parts):
                found.extend(plan.labels[int(m)] for m in group.members)
        return sorted(found)

    def metadata(self) -> Mapping[str, Metadata]:
        """Return what the expositions said of each metric family, the latest word winning."""
        with self._lock:
            return dict(self._metadata)

    def stats(self) -> StoreStats:
        """Return the store's own counters."""
        return StoreStats(
            series=len(self._ids),
            sources=len(self._sources),
            blocks=sum(len(s.blocks) for s in list(self._sources.values())),
            bytes=self._bytes,
            samples_appended=self._appended,
            rows_out_of_order=self._out_of_order,
            series_dropped=self._dropped,
            layouts_evicted=self._evicted,
            oldest_ms=self._oldest_ms,
            newest_ms=self._newest_ms,
        )
