"""One endpoint: its queue, its sender, and the loops that run them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from alerts.interfaces import Clock
from collectors.samples import FloatArray, Layout
from controlplane.metrics.write.shipping.queue import ShipQueue
from controlplane.metrics.write.shipping.sender import RowSender
from controlplane.metrics.write.shipping.window import Window

log = logging.getLogger(__name__)

FLUSH_S = 0.5
"""Seconds between two flushes to disk. `kill -9` loses at most the rows since the last flush."""
IDLE_S = 0.2
"""Seconds between two checks of an empty queue."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class ShippingReport:
    """Status of one endpoint."""

    endpoint: str
    sent: int
    retried: int
    sent_bytes: int
    dropped: Counter[str]
    """Number of dropped samples by reason."""
    pending: int
    """Number of samples on disk."""
    queue_bytes: int
    lag_s: float
    """Age in seconds of the oldest sample that the server has not accepted. 0 when it has accepted all."""
    failing: str
    """Reason why samples wait for another attempt. "" when none waits."""


class Shipper:
    """Sends rows to one endpoint. Implements collectors.samples.SampleSink. `append` never blocks."""

    def __init__(
        self,
        name: str,
        queue: ShipQueue,
        sender: RowSender,
        clock: Clock,
        *,
        shards: int,
        samples_per_send: int,
        deadline_s: float,
        age_limit_s: float,
        on_close: Callable[[], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._queue, self._sender, self._clock, self._sleep = queue, sender, clock, sleep
        self._monotonic = monotonic
        self._shards, self._samples, self._deadline_s = shards, samples_per_send, deadline_s
        self._age_ms = round(age_limit_s * 1000)
        self._files = ThreadPoolExecutor(1, thread_name_prefix="remote-write")
        self._on_close = on_close
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting_since: float | None = None
        self._oldest_ms = 0

    def append(self, source: str, layout: Layout, timestamp_ms: int, values: FloatArray) -> None:
        """Queue a row; see SampleSink. `values` is float64 of shape [columns]."""
        self._queue.append(source, layout, timestamp_ms, values)

    def end(self, source: str, timestamp_ms: int) -> None:
        """Note the end of a source; see SampleSink."""
        self._queue.end(source, timestamp_ms)

    async def start(self) -> None:
        """Open the queue and start to send. Raises OSError when its folder cannot be used."""
        await self._in_files(self._queue.open)
        if self._queue.pending:
            log.info("remote write %s: going on with %d samples of before", self.name, self._queue.pending)
        for run, what in ((self._flush, "flush"), (self._send, "send")):
            self._tasks.append(asyncio.create_task(self._forever(run), name=f"remote write {what}"))

    async def close(self) -> None:
        """Stop sending. Samples that were not sent stay on disk for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._in_files(self._queue.close)
        if self._on_close:
            await self._on_close()
        self._files.shutdown(wait=False)

    def report(self) -> ShippingReport:
        """Return the status of the endpoint."""
        stats, queue = self._sender.stats, self._queue
        waits = self._oldest_ms and queue.pending
        dropped = Counter(dict(stats.dropped))
        dropped.update(dict(queue.dropped))
        return ShippingReport(
            endpoint=self.name,
            sent=stats.sent,
            retried=stats.retried,
            sent_bytes=stats.bytes,
            dropped=dropped,
            pending=queue.pending,
            queue_bytes=queue.size_bytes,
            lag_s=max(0.0, self._clock.now() - self._oldest_ms / 1000) if waits else 0.0,
            failing=stats.failing,
        )

    async def _forever(self, turn: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await turn()
            except Exception:
                log.exception("remote write %s: internal error", self.name)
                await self._sleep(self._deadline_s)

    async def _flush(self) -> None:
        await self._sleep(FLUSH_S)
        await self._in_files(self._queue.flush)

    async def _send(self) -> None:
        if not self._is_due():
            await self._sleep(IDLE_S)
            return
        now_ms = round(self._clock.now() * 1000)
        window = await self._in_files(lambda: self._queue.read(now_ms, self._shards, self._samples, self._age_ms))
        self._waiting_since = None
        if window is None:
            await self._sleep(IDLE_S)
            return
        self._oldest_ms = window.oldest_ms or self._oldest_ms
        await self._sender.send(window)
        await self._acknowledge(window)

    def _is_due(self) -> bool:
        """Return whether the queue has a full request, or samples that have waited for the deadline."""
        if not self._queue.pending:
            self._waiting_since = None
            return False
        if self._queue.pending >= self._samples:
            return True
        now = self._monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since >= self._deadline_s

    async def _acknowledge(self, window: Window) -> None:
        await self._in_files(lambda: self._queue.acknowledge(window))
        if not self._queue.pending:
            self._oldest_ms = 0

    async def _in_files(self, call: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._files, call)
