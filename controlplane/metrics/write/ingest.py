"""Samples that others write to us: checked as Prometheus checks them, stored a series at a time.

Each written series is a source of its own with a layout of one column, because its samples come in an order and at
times of their own: nothing that one series does makes another stale. The source's name is derived from the labels, so
that a restart finds it again and asks the store once how far it had got.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from alerts.interfaces import Clock
from collectors.exposition import normalised_float
from collectors.samples import Labels, Layout, Metadata, SampleSink, Series
from controlplane.clock.every import Every
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.source import WRITTEN
from controlplane.metrics.write.remote_write_codec import WriteRequest

AHEAD_MS = 600_000
"""How far in the future a sample may lie: Prometheus's own (storage/remote/write_handler.go, maxAheadTime)."""

SLICE = 500
"""Samples stored before the event loop may do other things: a few milliseconds."""

NEW_SERIES_COST = 10
"""Samples whose time a new series takes: 7 µs a sample, 50 to 100 a series, measured on a store in files."""

PRUNE_EVERY_S = 60.0
MAX_SHOWN_CHARS = 300
"""Of a series' labels in a refusal."""

REFUSALS = ("duplicate", "histogram", "invalid_labels", "out_of_bounds", "out_of_order", "series_limit")
"""Reasons of a refusal."""

_DOUBLE = struct.Struct("<d")
_log = logging.getLogger(__name__)


class WrittenStore(SampleSink, Protocol):
    """What writing needs of the series store."""

    @property
    def era(self) -> int:
        """How often the timeline began anew at an earlier time."""
        ...

    def newest_ms(self, source: str) -> int | None:
        """Return the time of the source's last row, in this era or before it began; None where it has none."""
        ...

    def has_room_for(self, series: Series) -> bool:
        """Tell whether the store's limit of series lets this one in."""
        ...

    def describe(self, families: Mapping[str, Metadata]) -> None:
        """Remember type and help of metric families."""
        ...


class Refusal(NamedTuple):
    """Why samples were not stored."""

    reason: str
    """One of REFUSALS."""
    message: str
    """Begins as Prometheus's own answer does."""


@dataclass
class WriteReport:
    """What became of one request's samples."""

    stored: int = 0
    repeated: int = 0
    """Samples that were there already, value and all."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    first: str = ""
    """The first refusal, in words."""

    def refuse(self, refusal: Refusal, samples: int = 1) -> None:
        """Count samples that were not stored."""
        self.refused[refusal.reason] += samples
        self.first = self.first or refusal.message

    @property
    def sentence(self) -> str:
        """What the sender is told; empty when everything was stored."""
        if not self.first:
            return ""
        count, kept = self.refused.total(), self.stored + self.repeated
        others = f"{count} of {count + kept} samples were refused, the others are stored"
        return f"{self.first}; {others if kept else f'{count} samples were refused, that is all of them'}"


class _Written:
    """One written series, and how far it has got."""

    __slots__ = ("era", "layout", "newest_ms", "newest_value", "source")

    def __init__(self, series: Series, source: str, newest_ms: int | None, era: int) -> None:
        self.era = era
        self.layout = Layout((series,))
        self.source = source
        self.newest_ms = newest_ms
        self.newest_value: float | None = None
        """None where a process before this one wrote it."""


class Ingest:
    """Stores written samples. Used from the event loop alone, as the store has one writer."""

    def __init__(self, store: WrittenStore, clock: Clock, retention_s: float, max_series: int) -> None:
        """`max_series` are kept apart at a time; further ones are refused until some have expired."""
        self._store = store
        self._clock = clock
        self._retention_ms = int(retention_s * 1000)
        self._max_series = max_series
        self._series: dict[Labels, _Written] = {}
        self._prune_due = Every(PRUNE_EVERY_S)
        self.stored = 0
        """Samples stored since the start."""
        self.refused: Counter[str] = Counter()
        """Samples refused since the start, by reason."""

    async def write(self, request: WriteRequest) -> WriteReport:
        """Store what can be stored and say what cannot; lets the event loop do other things in between.

        A sample with the newest one's time and value is taken as a repetition, and is neither stored nor refused
        again: a sender whose answer got lost repeats its request.
        """
        report = WriteReport()
        spent = 0
        for cost in self._each(request, report):
            spent += cost
            if spent >= SLICE:
                spent = 0
                await asyncio.sleep(0)
        if request.histograms:
            words = f"native histograms are disabled: {request.histograms} samples; send classic ones"
            report.refuse(Refusal("histogram", words), request.histograms)
        if request.metadata:
            self._store.describe(dict(request.metadata))
        self.stored += report.stored
        self.refused.update(report.refused)
        if report.first:
            _log.debug("remote write: %s", report.sentence)
        return report

    def _each(self, request: WriteRequest, report: WriteReport) -> Iterator[int]:
        """Store the samples one by one; yield what each step cost, in samples."""
        now_ms = int(self._clock.now() * 1000)
        oldest, latest = now_ms - self._retention_ms, now_ms + AHEAD_MS
        for labels, samples in request.series:
            if not samples:  # one of native histograms, or of nothing
                continue
            written: _Written | Refusal | None = self._series.get(labels)
            if written is None:
                written = self._admit(labels, now_ms)
                yield NEW_SERIES_COST
            if isinstance(written, Refusal):
                report.refuse(written, len(samples))
                continue
            if written.era != self._store.era:
                # The clock was set: what is ahead of it is no longer the newest.
                written.newest_ms, written.newest_value = self._store.newest_ms(written.source), None
                written.era = self._store.era
            for timestamp_ms, value in samples:
                if not oldest <= timestamp_ms <= latest:
                    report.refuse(_out_of_bounds(labels, timestamp_ms, now_ms))
                elif written.newest_ms is not None and timestamp_ms <= written.newest_ms:
                    if refusal := _not_newer(labels, written, timestamp_ms, value):
                        report.refuse(refusal)
                    else:
                        report.repeated += 1
                else:
                    self._store.append(written.source, written.layout, timestamp_ms, np.array((value,)))
                    written.newest_ms, written.newest_value = timestamp_ms, value
                    report.stored += 1
                yield 1

    def _admit(self, labels: Labels, now_ms: int) -> _Written | Refusal:
        if refusal := _invalid(labels):
            return refusal
        if len(self._series) >= self._max_series:
            self._prune(now_ms)
        if len(self._series) >= self._max_series:
            return _too_many(f"{self._max_series} are written already", "metrics.receive.max_written_series")
        one = _normalised(labels)
        written = self._series.get(one)
        if written is None:
            source = f"{WRITTEN}{blake2b(repr(one).encode(), digest_size=16).hexdigest()}"
            name = dict(one)[METRIC_NAME]
            series = Series(name, tuple(pair for pair in one if pair[0] != METRIC_NAME))
            if not self._store.has_room_for(series):
                return _too_many("the store holds all that it may", "metrics.max_series")
            written = self._series[one] = _Written(series, source, self._store.newest_ms(source), self._store.era)
        self._series[labels] = written
        return written

    def _prune(self, now_ms: int) -> None:
        """Forget series of which the store holds nothing any more."""
        if not self._prune_due.take(now_ms / 1000):
            return
        oldest = now_ms - self._retention_ms
        self._series = {k: w for k, w in self._series.items() if w.newest_ms is not None and w.newest_ms >= oldest}


def _too_many(why: str, limit: str) -> Refusal:
    return Refusal("series_limit", f"too many series: {why}; drop some before they are sent, or raise {limit}")


def _invalid(labels: Labels) -> Refusal | None:
    names = [name for name, _ in labels]
    if METRIC_NAME not in names:
        return Refusal("invalid_labels", f"invalid metric name or labels, got {_shown(labels)}")
    if unstorable := next((a for a, b in labels if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in a + b)), None):
        words = f"invalid labels for series, labels {_shown(labels)}, label {unstorable!r} holds a NUL or half of a "
        return Refusal("invalid_labels", words + "surrogate pair, which no database stores")
    if twice := next((a for a, b in pairwise(names) if a == b), None):
        words = f"invalid labels for series, labels {_shown(labels)}, duplicated label {twice}"
        return Refusal("invalid_labels", words)
    return None


def _out_of_bounds(labels: Labels, timestamp_ms: int, now_ms: int) -> Refusal:
    why = "too far in the future" if timestamp_ms > now_ms else "older than the retention"
    return Refusal("out_of_bounds", f"out of bounds: timestamp {timestamp_ms} of {_shown(labels)} is {why}")


def _not_newer(labels: Labels, written: _Written, timestamp_ms: int, value: float) -> Refusal | None:
    if timestamp_ms != written.newest_ms:
        words = f"{_shown(labels)} at {timestamp_ms}, its newest is at {written.newest_ms}"
        return Refusal("out_of_order", f"out of order sample: {words}")
    # Compared by their bits: NaN is a value here, and a staleness marker another one. What a process before this one
    # wrote is taken for a repetition, since that is what comes after a restart.
    if written.newest_value is None or _DOUBLE.pack(value) == _DOUBLE.pack(written.newest_value):
        return None
    words = f"overrides not allowed: existing {written.newest_value!r}, new value {value!r} of {_shown(labels)}"
    return Refusal("duplicate", f"duplicate sample for timestamp {timestamp_ms}; {words}")


def _normalised(labels: Labels) -> Labels:
    """Return the labels with `le` and `quantile` as our scrapes write them, so that one bucket is one series."""
    name = dict(labels)[METRIC_NAME]
    bound = "le" if name.endswith("_bucket") else "quantile"
    return tuple((key, normalised_float(text) if key == bound else text) for key, text in labels)


def _shown(labels: Labels) -> str:
    inner = ", ".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inner[:MAX_SHOWN_CHARS]}{'…' if len(inner) > MAX_SHOWN_CHARS else ''}}}"
