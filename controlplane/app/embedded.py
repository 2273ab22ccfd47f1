"""The embedded metrics as one part: the store in its folder, what tidies it, and who answers queries over it."""

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
"""In the data folder."""

LOCAL_S = 3600.0
"""What is kept here when another server answers the queries: enough for the rules on the control plane itself."""

GAP_S = 300.0
"""A pause of a shorter time does not hide the past from rules: an instant query looks back as far."""

SLOW_OPEN_S = 2.0

SEAM_S = 60.0
"""From such a step back on, what was written shortly before is hidden: a rate over the seam would put the increase of
the time that is lived again on top. For less it is not worth the hole in the graphs."""

KEEP_S = 3600.0
"""How long after a step forward nothing is dropped for its age: a wrong date must not cost the history."""


class Embedded:
    """The series store of this process. `open` it, then start what it offers as loops."""

    def __init__(self, store: SeriesStore, folder: Folder, metrics: Metrics, clock: SystemClock) -> None:
        """Use `open`."""
        self.store = store
        self._folder, self._clock = folder, clock
        self._forward_s, self._forward_at = 0.0, 0.0
        """Steps forward of the last KEEP_S, and when, in monotonic seconds, the last one was."""
        self._tidy = Tidy(store, metrics.retention_size)
        self.local = MetricsQuerier(PromqlEngine(store))
        self.querier = WorkerQuerier(self.local, str(folder.path), lambda: folder.complete, metrics.query_workers)
        self.ahead_s = 0.0 if store.last_row_at is None else store.last_row_at - clock.now()
        """By how much the newest sample of earlier runs lies in the future; negative where it does not."""
        if self.ahead_s >= STEP_S:
            store.begin_era(round(clock.now() * 1000), round(GAP_S * 1000))
        self.since = _since(store, clock.now())
        """Unix second from which on, without a long gap, there are samples."""

    @classmethod
    def open(cls, metrics: Metrics, data_dir: Path, clock: SystemClock) -> Embedded:
        """Open the store with what earlier runs left. Raises StorageError, StorageLocked. Blocking."""
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
            log.log(level, "metrics: %d series of earlier runs are here again after %.1f s", stats.series, took_s)
        return cls(store, store.space, metrics, clock)

    async def tidy_up(self, files: ThreadPool) -> None:
        """Pack, sync and drop what is due."""
        now = self._clock.now()
        if self._clock.monotonic() - self._forward_at >= KEEP_S:
            self._forward_s = 0.0
        await files.run(self._tidy.turn, round(now * 1000), round((now - self._forward_s) * 1000))

    def clock_was_set(self, by_s: float) -> None:
        """Follow a step that the clock has just made. To be called on the thread that appends."""
        self.store.begin_era(round(self._clock.now() * 1000), round(GAP_S * 1000) if by_s <= -SEAM_S else 0)
        self._forward_s = max(0.0, self._forward_s + by_s)
        self._forward_at = self._clock.monotonic()

    def report(self) -> StorageReport:
        """Return the storage status."""
        folder = self._folder
        return StorageReport(folder.paused, folder.pauses, folder.disk_bytes)

    async def close(self) -> None:
        """Stop answering, and bring everything to the disk."""
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
    """Return from when on samples are there without a long gap, as far as any rule is waited for."""
    opened_ms, gap_ms = round(opened_at * 1000), round(GAP_S * 1000)
    start_ms = opened_ms - round((MAX_S + GAP_S) * 1000)
    nothing = np.empty(0, dtype=np.int64)
    rows = [rows.times for block in store.table.blocks.values() for rows in block.read(nothing, start_ms, opened_ms)]
    times = np.concatenate(([start_ms], np.unique(np.concatenate([nothing, *rows])), [opened_ms]))
    gaps = np.flatnonzero(np.diff(times) > gap_ms)
    return float(times[gaps[-1] + 1] if len(gaps) else start_ms) / 1000
