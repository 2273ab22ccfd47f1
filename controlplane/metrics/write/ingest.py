"""Samples that come by remote write: they are checked as Prometheus does, and stored series by series.

Each written series is a source of its own, with a layout of one column. Its samples have their own order and times, and
no other series can make it stale. The source's name is derived from the labels. So a restart finds the source again,
and reads the time of its newest sample from the store once.
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
from collectors.exposition.parser import normalised_float
from collectors.samples import Labels, Layout, Metadata, SampleSink, Series
from controlplane.clock.every import Every
from controlplane.metrics.series.index import METRIC_NAME
from controlplane.metrics.series.source import WRITTEN
from controlplane.metrics.write.remote_write_codec import WriteRequest

AHEAD_MS = 600_000
"""Maximum time of a sample ahead of the clock, in milliseconds. Source: Prometheus's maxAheadTime
(storage/remote/write_handler.go)."""

SLICE = 500
"""Samples stored before the event loop may run other tasks. Chosen: it takes a few milliseconds."""

NEW_SERIES_COST = 10
"""Cost of a new series in samples. Measured on a store in files: 7 µs a sample, 50 to 100 µs a series."""

PRUNE_EVERY_S = 60.0
MAX_SHOWN_CHARS = 300
"""Maximum characters of a series' labels in a refusal."""

REFUSALS = ("duplicate", "histogram", "invalid_labels", "out_of_bounds", "out_of_order", "series_limit")
"""Reasons of a refusal."""

_DOUBLE = struct.Struct("<d")
_log = logging.getLogger(__name__)


class WrittenStore(SampleSink, Protocol):
    """The part of the series store that this module needs."""

    @property
    def era(self) -> int:
        """Number of the current era, 0 for the first."""
        ...

    def newest_ms(self, source: str) -> int | None:
        """Return the unix milliseconds of a source's last row, of this era or before its begin. None without a row."""
        ...

    def has_room_for(self, series: Series) -> bool:
        """Return whether the store's limit of series admits this one."""
        ...

    def describe(self, families: Mapping[str, Metadata]) -> None:
        """Add type and help of metric families."""
        ...


class Refusal(NamedTuple):
    """The reason why samples were not stored."""

    reason: str
    """One of REFUSALS."""
    message: str
    """A message that begins as Prometheus's own does."""


@dataclass
class WriteReport:
    """Result of one request, in numbers of samples."""

    stored: int = 0
    repeated: int = 0
    """Samples that were already stored, with the same value."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refused samples by reason."""
    first: str = ""
    """Message of the first refusal."""

    def refuse(self, refusal: Refusal, samples: int = 1) -> None:
        """Count samples that were not stored."""
        self.refused[refusal.reason] += samples
        self.first = self.first or refusal.message

    @property
    def sentence(self) -> str:
        """The message to the sender. "" when everything was stored."""
        if not self.first:
            return ""
        count, kept = self.refused.total(), self.stored + self.repeated
        others = f"{count} of {count + kept} samples were refused, the others are stored"
        return f"{self.first}; {others if kept else f'{count} samples were refused, that is all of them'}"


class _Written:
    """One written series, with the time and the value of its newest sample."""

    __slots__ = ("era", "layout", "newest_ms", "newest_value", "source")

    def __init__(self, series: Series, source: str, newest_ms: int | None, era: int) -> None:
        self.era = era
        self.layout = Layout((series,))
        self.source = source
        self.newest_ms = newest_ms
        self.newest_value: float | None = None
        """Value of the newest sample. None if an earlier process stored it."""


class Ingest:
    """Stores written samples. Use it on the event loop only, as the store has one writer."""

    def __init__(self, store: WrittenStore, clock: Clock, retention_s: float, max_series: int) -> None:
        """`max_series` is the maximum number of written series. Further series are refused until some have expired."""
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
        """Store the valid samples and report the others. The event loop runs other tasks in between.

        A sample with the time and the value of the newest one is a repetition. It is neither stored nor refused,
        because a sender repeats a request whose answer was lost.
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
        """Store the samples one by one. Yield the cost of each step in samples."""
        now_ms = int(self._clock.now() * 1000)
        oldest, latest = now_ms - self._retention_ms, now_ms + AHEAD_MS
        for labels, samples in request.series:
            if not samples:  # a series of native histograms, or an empty one
                continue
            written: _Written | Refusal | None = self._series.get(labels)
            if written is None:
                written = self._admit(labels, now_ms)
                yield NEW_SERIES_COST
            if isinstance(written, Refusal):
                report.refuse(written, len(samples))
                continue
            if written.era != self._store.era:
                # The clock was set. The newest sample may now be in the future, where it no longer counts.
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
        """Remove series whose samples have all expired in the store."""
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
    # Values are compared by their bits: NaN equals NaN, and a staleness marker is a different value. If an earlier
    # process stored the newest sample, its value is unknown. A repetition is assumed, as is usual after a restart.
    if written.newest_value is None or _DOUBLE.pack(value) == _DOUBLE.pack(written.newest_value):
        return None
    words = f"overrides not allowed: existing {written.newest_value!r}, new value {value!r} of {_shown(labels)}"
    return Refusal("duplicate", f"duplicate sample for timestamp {timestamp_ms}; {words}")


def _normalised(labels: Labels) -> Labels:
    """Return the labels with `le` and `quantile` in the format of scrapes, so that "1" and "1.0" are one bucket."""
    name = dict(labels)[METRIC_NAME]
    bound = "le" if name.endswith("_bucket") else "quantile"
    return tuple((key, normalised_float(text) if key == bound else text) for key, text in labels)


def _shown(labels: Labels) -> str:
    inner = ", ".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inner[:MAX_SHOWN_CHARS]}{'…' if len(inner) > MAX_SHOWN_CHARS else ''}}}"
