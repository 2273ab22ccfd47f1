"""The embedded metrics: the store in its folder, its upkeep, and the queriers over it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np

from alerts.lookback import MAX_S
from controlplane.clock.system import STEP_S, SystemClock
from controlplane.config.model import Metrics
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query.querier import MetricsQuerier
from controlplane.metrics.query.workers.querier import WorkerQuerier
from controlplane.metrics.series.series_store import SeriesStore, StoreLimits
from controlplane.metrics.series.tidy import Tidy
from controlplane.metrics.storage.folder import Folder
from controlplane.metrics.storage.report import StorageReport
from controlplane.pools import ThreadPool

log = logging.getLogger(__name__)

FOLDER = "metrics"
"""Name of the store's folder in the data folder."""

LOCAL_S = 3600.0
"""Retention in seconds when another server answers the queries. Chosen: enough for rules on its own metrics."""

GAP_S = 300.0
"""Longest gap between samples, in seconds, over which rules still see the past: the lookback of an instant query."""

SLOW_OPEN_S = 2.0

SEAM_S = 60.0
"""Smallest step back, in seconds, after which the rows just before it are hidden: a rate over the step would count the
repeated time twice. Chosen: for a smaller step the error is smaller than the harm of a gap in the graphs."""

KEEP_S = 3600.0
"""Seconds after a step forward in which no sample is dropped for its age: a wrong date must not delete the history."""


class Embedded:
    """The series store of this process. Create it with `open`, and call `tidy_up` regularly."""

    def __init__(self, store: SeriesStore, folder: Folder, metrics: Metrics, clock: SystemClock) -> None:
        """Take an open store. Callers use `open` instead."""
        self.store = store
        self._folder, self._clock = folder, clock
        self._forward_s, self._forward_at = 0.0, 0.0
        """Sum of the steps forward in the last KEEP_S, and the time of the last step in monotonic seconds."""
        self._tidy = Tidy(store, metrics.retention_size)
        self.local = MetricsQuerier(PromqlEngine(store))
        self.querier = WorkerQuerier(self.local, str(folder.path), lambda: folder.complete, metrics.query_workers)
        self.ahead_s = 0.0 if store.last_row_at is None else store.last_row_at - clock.now()
        """Seconds from now to the newest sample of earlier runs. Positive: it is in the future."""
        if self.ahead_s >= STEP_S:
            store.begin_era(round(clock.now() * 1000), round(GAP_S * 1000))
        self.since = _since(store, clock.now())
        """Unix seconds from which on there are samples without a gap of more than GAP_S."""

    @classmethod
    def open(cls, metrics: Metrics, data_dir: Path, clock: SystemClock) -> Embedded:
        """Open the store with the samples of earlier runs. Raises StorageError and StorageLocked. Blocking."""
        most = LOCAL_S if metrics.query_url else float("inf")
        limits = StoreLimits(metrics.max_series, metrics.max_series_per_target)
        started = clock.now()
        store = SeriesStore.in_folder(
            data_dir / FOLDER, min(metrics.retention, most), limits, min(metrics.retention_recorded, most)
        )
        assert isinstance(store.space, Folder)
        stats, took_s = store.stats(), clock.now() - started
        if stats.series:
            level = logging.WARNING if took_s > SLOW_OPEN_S else logging.INFO
            log.log(level, "metrics: %d series of earlier runs were loaded in %.1f s", stats.series, took_s)
        return cls(store, store.space, metrics, clock)

    async def tidy_up(self, files: ThreadPool) -> None:
        """Pack and sync the samples that are due, and drop those past their retention."""
        now = self._clock.now()
        if self._clock.monotonic() - self._forward_at >= KEEP_S:
            self._forward_s = 0.0
        await files.run(self._tidy.turn, round(now * 1000), round((now - self._forward_s) * 1000))

    def clock_was_set(self, by_s: float) -> None:
        """Begin an era after a step of the clock. Must be called on the thread that appends."""
        self.store.begin_era(round(self._clock.now() * 1000), round(GAP_S * 1000) if by_s <= -SEAM_S else 0)
        self._forward_s = max(0.0, self._forward_s + by_s)
        self._forward_at = self._clock.monotonic()

    def report(self) -> StorageReport:
        """Return the storage status."""
        folder = self._folder
        return StorageReport(folder.paused, folder.pauses, folder.disk_bytes)

    async def close(self) -> None:
        """Stop answering queries, and write all samples to the disk."""
        self.querier.close()
        await self.querier.wait_closed()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        try:
            self._folder.sync()
        except OSError as error:
            log.warning("metrics: the last samples may not be on the disk: %s", error)
        with self.store.writing:
            self._folder.close()


def _since(store: SeriesStore, opened_at: float) -> float:
    """Return the Unix seconds since which there is no gap longer than GAP_S, MAX_S + GAP_S ago at most."""
    opened_ms, gap_ms = round(opened_at * 1000), round(GAP_S * 1000)
    start_ms = opened_ms - round((MAX_S + GAP_S) * 1000)
    nothing = np.empty(0, dtype=np.int64)
    rows = [rows.times for block in store.table.blocks.values() for rows in block.read(nothing, start_ms, opened_ms)]
    times = np.concatenate(([start_ms], np.unique(np.concatenate([nothing, *rows])), [opened_ms]))
    gaps = np.flatnonzero(np.diff(times) > gap_ms)
    return float(times[gaps[-1] + 1] if len(gaps) else start_ms) / 1000
